"""A backend that loads well and fails in a run: one error that names it and its package, and a model that lives on."""

import subprocess
import sys

import numpy as np
import pytest

from arrayformer.api import Model
from arrayformer.backends.registry import get_backend
from arrayformer.core.engine import Engine
from arrayformer.core.errors import BackendError

from . import reading
from .conftest import backend_source

IDS = "def asarray(self, host, dtype=None): return {} if host.dtype.kind == 'i' else super().asarray(host, dtype)"
UNEMBED = "overrides = {{'unembed': lambda x, wte: {}}}"

# what the backend's class says -> what the error has to say of it
FAULTS = {
    "an exception": (UNEMBED.format("1 / 0"), "failed in a step: ZeroDivisionError: division by zero"),
    "an exception of its own": ("class Odd(BaseException): pass\n"
                                "def unembed(x, wte): raise Acme.Odd('odd')\n"
                                "overrides = {'unembed': unembed}", "failed in a step: Odd: odd"),
    "SystemExit": (UNEMBED.format("exit(5)"), "failed in a step: SystemExit: 5"),
    "StopIteration": (UNEMBED.format("next(iter(()))"), "failed in a step: StopIteration:"),
    "GeneratorExit": ("def unembed(x, wte): raise GeneratorExit\noverrides = {'unembed': unembed}", "GeneratorExit"),
    "recursion": ("def unembed(x, wte): return Acme.unembed(x, wte)\noverrides = {'unembed': unembed}",
                  "failed in a step: RecursionError"),
    "None from a step": (UNEMBED.format("None"), "gave a NoneType from a step; needed is a numpy.ndarray"),
    "a list from a step": (UNEMBED.format("(x @ wte.T).tolist()"), "gave a list from a step; needed"),
    "text from a step": (UNEMBED.format("'logits'"), "gave a str from a step; needed"),
    "another library's arrays from a step": (
        UNEMBED.format("__import__('array_api_strict').asarray(x @ wte.T)"), "gave a array_api_strict._array_object"),
    "None from to_numpy": ("def to_numpy(self, x): return None", "gave a NoneType from to_numpy()"),
    "a list from to_numpy": ("def to_numpy(self, x): return x.tolist()", "gave a list from to_numpy()"),
    "another shape from to_numpy": ("def to_numpy(self, x): return xp.asarray([1, 2, 3, 4])", "shape (4,) from to_n"),
    "an exception in to_numpy": ("def to_numpy(self, x): 1 / 0", "failed in fetching numbers from the device: Zero"),
    "None from asarray": (IDS.format("None"), "gave a NoneType from asarray()"),
    "a list from asarray": (IDS.format("host.tolist()"), "gave a list from asarray()"),
    "another shape from asarray": (IDS.format("xp.zeros((2, 9))"), "an array of shape (2, 9) from asarray(), expected"),
    "an exception in asarray": (IDS.format("1 / 0"), "failed in putting numbers on the device: Zero"),
    "None for each weight": ("def asarray(self, host, dtype=None): return None", "from place(); needed are all we"),
    "a list for each weight": ("def asarray(self, host, dtype=None): return host.tolist()", "for a cache; needed are"),
    "None from compile": ("def compile(self, function, donate=()): return None", "gave None from compile()"),
    "an exception in compile": ("def compile(self, function, donate=()): 1 / 0", "failed in compiling: Zero"),
    "None from place": ("def place(self, params, weights, *, owned=False): return None", "gave None from place()"),
    "half from place": ("def place(self, params, weights, *, owned=False): return {'wte': 1}", "from place()"),
    "an exception in place": ("def place(self, params, weights, *, owned=False): 1 / 0", "failed in placing the we"),
    "a negative bucket": ("def bucket(self, n, limit): return -1", "to -1; needed is a whole number from"),
    "a bucket of zero": ("def bucket(self, n, limit): return 0", "to 0; needed is a whole number from"),
    "a bucket that is no whole number": ("def bucket(self, n, limit): return 8.0", "to 8.0; needed is"),
    "a bucket beyond the limit": ("def bucket(self, n, limit): return limit + 1", "needed is a whole number from"),
    "too few arrays for a cache": ("def cache_arrays(self, n, shape): return []", "for a cache; needed are 4 arrays"),
    "None for a cache": ("def cache_arrays(self, n, shape): return None", "made None for a cache"),
    "an exception in zeros": ("def zeros(self, shape): 1 / 0", "failed in making a cache: Zero"),
}  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0, "top_k": 5}, {"repetition_penalty": 1.5}], ids=str)
@pytest.mark.parametrize("fault", FAULTS)
def test_what_goes_wrong_in_a_run_is_one_error_that_names_who_has_to_mend_it(install, fault, options):
    claims, says = FAULTS[fault]
    install(backend_source(claims))

    with pytest.raises(BackendError) as caught:
        Model(reading.CONFIG, Engine(reading.CONFIG, reading.PARAMS, get_backend("acme"))).generate([1, 2], **options)

    message = str(caught.value)
    assert says in message
    assert "backend 'acme'" in message
    assert "acme-af 0.9.0 (entry point acme = acme_af)" in message
    assert "run: arrayformer conformance --backend acme" in message
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("use", ["logits", "score", "stream_ids", "as_completed"])
def test_it_is_the_same_error_however_the_model_is_used(install, use):
    install(backend_source(UNEMBED.format("1 / 0")))
    model = Model(reading.CONFIG, Engine(reading.CONFIG, reading.PARAMS, get_backend("acme")))

    with pytest.raises(BackendError, match="failed in a step: ZeroDivisionError") as caught:
        list(getattr(model, use)([[1, 2]] if use == "as_completed" else [1, 2]))

    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_model_lives_on_after_a_step_that_failed(install):
    install(backend_source(
        "fail = [False]\noverrides = {'unembed': lambda x, wte: 1 / 0 if Acme.fail[0] else x @ wte.T}"
    ))  # fmt: skip
    backend = get_backend("acme")
    model = Model(reading.CONFIG, Engine(reading.CONFIG, reading.PARAMS, backend))
    context = model.engine.context(1, 8)
    context.read([[1, 2]])

    backend.fail[0] = True
    with pytest.raises(BackendError):
        context.read([[3]])
    with pytest.raises(BackendError):
        model.generate([1, 2])
    backend.fail[0] = False

    np.testing.assert_allclose(np.array(context.read([[3]]))[0], model.logits([1, 2, 3])[-1], atol=1e-5)


def test_an_exception_of_a_tap_is_not_the_backend_s(install):
    install(backend_source())
    engine = Engine(reading.CONFIG, reading.PARAMS, get_backend("acme"))

    with pytest.raises(ZeroDivisionError):
        engine.logits([1, 2], tap=lambda *_: 1 / 0)


def test_ctrl_c_in_a_step_is_the_users(install):
    install(backend_source("def stop(x, wte): raise KeyboardInterrupt\noverrides = {'unembed': stop}"))

    with pytest.raises(KeyboardInterrupt):
        Engine(reading.CONFIG, reading.PARAMS, get_backend("acme")).logits([1])


@pytest.mark.parametrize("command", [("generate", "Once", "-n", "2"), ("inspect", "Once upon"), ("evaluate",)])
@pytest.mark.parametrize("debug", [(), ("--debug",)])
def test_the_command_line_says_it_in_three_lines_or_shows_where(install, tmp_path, command, debug):
    install(backend_source(UNEMBED.format("1 / 0")))
    (tmp_path / "t.txt").write_text("Once upon a time")
    data = ("--data", str(tmp_path / "t.txt")) if command == ("evaluate",) else ()

    done = subprocess.run(
        [sys.executable, "-m", "arrayformer", *command, *data, "--backend", "acme", *debug],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    said = "error: backend 'acme' failed in a step: ZeroDivisionError: division by zero\n"
    assert (done.returncode, done.stdout) == (4, "")
    assert said in done.stderr
    if debug:
        assert "ZeroDivisionError: division by zero\n\nThe above exception" in done.stderr
    else:
        assert done.stderr.startswith(said)
        assert done.stderr.count("\n") == 3
