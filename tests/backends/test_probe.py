"""Trying a backend in a process of its own."""

import os
import signal
import threading
import time

import pytest

from arrayformer.backends.probe import check_backend
from arrayformer.commands.probing import checked
from arrayformer.core.errors import BackendError, BackendNotFoundError

from .conftest import Install, backend_source

# what the plugin's module does when imported -> what the report has to say of it
CRASHES = {
    "exits at once": ("import os\nos._exit(3)", "exit code 3"),
    "crashes": ("import ctypes\nctypes.string_at(0)", "SIGSEGV"),
    "raises": ("raise ImportError('no libcublas')", "no libcublas"),
    "claims an interrupt": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "asks for input": ("input()", "EOFError"),
}


@pytest.mark.parametrize("fault", CRASHES)
def test_a_plugin_that_takes_its_process_along_is_reported(install: Install, fault: str) -> None:
    source, says = CRASHES[fault]
    install(source)

    report = check_backend("acme")

    assert report.state == "broken"
    assert says in report.error
    assert report.distribution == "acme-af"
    assert "importing acme_af" in report.step


def test_a_plugin_that_hangs_is_ended_and_shown_where(install: Install) -> None:
    install("def wait_for_ever():\n    while True: pass\nwait_for_ever()")

    report = check_backend("acme", timeout=1.5)

    assert report.state == "broken"
    assert report.error == "no answer within 1.5 seconds"
    assert "wait_for_ever" in report.traceback


def test_ctrl_c_ends_what_is_being_tried(install: Install) -> None:
    install("while True: pass")
    threading.Timer(1.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    start = time.monotonic()

    with pytest.raises(KeyboardInterrupt):
        checked(["acme@acme-af"], 60)

    assert time.monotonic() - start < 5


def test_a_backend_that_works_says_what_it_can(install: Install) -> None:
    install(backend_source("dtypes = ('float32', 'float64')"))

    report = check_backend("acme")

    assert (report.state, report.error, report.lacks, report.changed) == ("works", "", [], [])
    assert report.devices == ["cpu"]
    assert report.dtypes == ["float32", "float64"]
    assert report.library.startswith("numpy ")


def test_missing_functions_are_counted_before_anything_runs(install: Install) -> None:
    install(
        "import types\n"
        + backend_source("xp = types.SimpleNamespace(**{**vars(xp), 'float32': xp.float32})\ndel xp.tanh")
    )

    report = check_backend("acme")

    assert report.lacks == ["tanh"]


@pytest.mark.parametrize(
    ("has", "says"),
    [
        ("pass", "Bare is not a supported array type"),
        ("__array_namespace__ = lambda x, api_version=None: xp", "device"),
    ],
)
def test_arrays_the_graph_knows_no_namespace_or_device_of_are_named(install: Install, has: str, says: str) -> None:
    source = backend_source("asarray = lambda self, host, dtype=None: Bare()").replace("class Acme", "{bare}class Acme")
    install(source.format(bare=f"class Bare:\n    {has}\n"))

    report = check_backend("acme")

    assert (report.state, report.step) == ("broken", "computing")
    assert says in report.error
    assert report.error.endswith("supply it with arrayformer.core.array_api.register_namespace")


def test_a_backend_without_its_hardware_is_unavailable_not_broken(install: Install) -> None:
    claims = "def devices(self):\n    raise BackendError('no card here')"
    install("from arrayformer.core.errors import BackendError\n" + backend_source(claims))

    report = check_backend("acme")

    assert (report.state, report.error) == ("unavailable", "no card here")


def test_a_backend_that_multiplies_wrongly_is_found_out(install: Install) -> None:
    install(backend_source("def to_numpy(self, x):\n    return super().to_numpy(x) + 1"))

    report = check_backend("acme")

    assert "times its transpose gave" in report.error


CHANGES = {
    "numpy.seterr": "import numpy; numpy.seterr(all='raise')",
    "working directory": "import os; os.chdir('/')",
    "signal handlers": "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "warnings filters": "import warnings; warnings.simplefilter('error')",
    "recursion limit": "import sys; sys.setrecursionlimit(5000)",
}


def test_changes_to_the_whole_process_are_named(install: Install) -> None:
    install("\n".join(CHANGES.values()) + backend_source())

    report = check_backend("acme")

    assert set(report.changed) == set(CHANGES)


def test_loading_alone_does_not_ask_for_the_hardware(install: Install) -> None:
    install(backend_source("def devices(self):\n    raise OSError('no card here')"))

    assert check_backend("acme", create=False).state == "works"
    assert "no card here" in check_backend("acme").error


def test_a_name_that_is_nothing_is_an_error_at_once(install: Install) -> None:
    install(backend_source(), name="numpy")

    with pytest.raises(BackendNotFoundError):
        check_backend("nope")
    with pytest.raises(BackendError, match="reserved"):
        check_backend("numpy@acme-af")
