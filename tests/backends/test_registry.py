"""From a name to a backend: what is found, what is loaded, and what a choice of the environment changes."""

import subprocess
import sys

import numpy as np
import pytest

from arrayformer.backends.registry import default_backend_name, get_backend, list_backends
from arrayformer.core.errors import BackendError, BackendNotFoundError

from .conftest import Install, backend_source


def test_a_plugin_is_a_backend_like_those_built_in(install: Install) -> None:
    install(backend_source())

    backend = get_backend("acme", device="cpu", dtype="float32")

    np.testing.assert_array_equal(backend.to_numpy(backend.asarray(np.arange(3))), [0, 1, 2])


def test_the_list_names_each_backend_with_where_it_comes_from(install: Install) -> None:
    install(backend_source())

    found = {i.name: i for i in list_backends()}

    assert list(found)[:4] == ["numpy", "jax", "cupy", "numba"]
    assert found["numpy"].builtin
    acme = found["acme"]
    assert (acme.distribution, acme.version, acme.value, acme.status) == ("acme-af", "0.9.0", "acme_af", "installed")


def test_listing_backends_imports_no_array_library_and_no_plugin(install: Install) -> None:
    install(backend_source())

    code = (
        "import sys; from arrayformer.backends.registry import list_backends;"
        "names = [i.name for i in list_backends()];"
        "assert 'acme' in names, names;"
        "print(*{'numpy', 'jax', 'cupy', 'numba', 'array_api_compat', 'acme_af'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert done.stdout.strip() == ""


def test_asking_for_one_backend_loads_no_other(install: Install) -> None:
    install("raise SystemExit('never loaded')")

    assert get_backend("numpy").name == "numpy"
    assert "acme_af" not in sys.modules


def test_a_name_nobody_offers_is_refused_with_those_there_are(install: Install) -> None:
    install(backend_source())

    with pytest.raises(BackendNotFoundError, match=r"no backend named 'nope'; installed: acme, .*numpy"):
        get_backend("nope")


@pytest.mark.parametrize("name", ["acme@first-af", "acme@First_AF"])
def test_two_distributions_of_one_name_are_settled_by_naming_one(install: Install, name: str) -> None:
    install(backend_source(), distribution="first-af")
    install(backend_source(), distribution="second-af")

    with pytest.raises(BackendError) as caught:
        get_backend("acme")

    assert "first-af 0.9.0   (first_af)" in str(caught.value)
    assert "second-af 0.9.0   (second_af)" in str(caught.value)
    assert "--backend acme@first-af" in str(caught.value)
    assert {i.status for i in list_backends() if i.name == "acme"} == {"duplicate"}
    assert type(get_backend(name)).__module__ == "first_af"


@pytest.mark.parametrize("name", ["numpy", "jax", "cupy", "numba"])
def test_a_built_in_name_cannot_be_taken(install: Install, name: str) -> None:
    install(backend_source(), name=name)

    assert type(get_backend("numpy")).__module__ == "arrayformer.backends.numpy.backend"
    with pytest.raises(BackendError, match=f"the name '{name}' is reserved"):
        get_backend(f"{name}@acme-af")


@pytest.mark.parametrize("name", ["Acme", "my-backend", "9acme", "a" * 40])
def test_a_name_that_is_no_identifier_is_listed_and_refused(install: Install, name: str) -> None:
    install(backend_source(), name=name)

    assert [i.status for i in list_backends() if i.name == name] == ["refused"]


def test_dashes_may_stand_for_underscores(install: Install) -> None:
    install(backend_source("name = 'my_acme'").replace('("acme"', '("my_acme"'), name="my_acme")

    assert get_backend("my-acme").name == "my_acme"


def test_an_option_the_backend_does_not_take_is_refused(install: Install) -> None:
    install(backend_source())

    with pytest.raises(BackendError, match="backend 'acme' takes no option 'mesh'"):
        get_backend("acme", mesh="data=2")
    assert get_backend("acme", mesh=None).name == "acme"


@pytest.mark.parametrize(("what", "value", "there"), [("device", "tpu", "cpu"), ("dtype", "int8", "float32")])
def test_what_a_backend_lacks_is_refused_with_what_it_has(what: str, value: str, there: str) -> None:
    with pytest.raises(BackendError, match=f"backend 'numpy' has no {what} '{value}'; it has {there}"):
        get_backend("numpy", **{what: value})


def test_the_environment_names_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ARRAYFORMER_BACKEND", raising=False)
    assert default_backend_name() == "numpy"

    monkeypatch.setenv("ARRAYFORMER_BACKEND", "jax")

    assert default_backend_name() == "jax"


@pytest.mark.parametrize(("wanted", "loads"), [("", False), ("acme", True), ("other, acme-af", True), ("other", False)])
def test_the_environment_chooses_among_plugins(
    install: Install, monkeypatch: pytest.MonkeyPatch, wanted: str, loads: bool
) -> None:
    install(backend_source())
    monkeypatch.setenv("ARRAYFORMER_LOAD_PLUGINS", wanted)

    assert get_backend("numpy").name == "numpy"
    if loads:
        assert get_backend("acme").name == "acme"
    else:
        with pytest.raises(BackendError, match="ARRAYFORMER_LOAD_PLUGINS"):
            get_backend("acme")


def test_the_environment_shows_a_plugin_s_own_error(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("raise ZeroDivisionError('mine')")
    monkeypatch.setenv("ARRAYFORMER_RAISE_PLUGIN_ERRORS", "1")

    with pytest.raises(ZeroDivisionError, match="mine"):
        get_backend("acme")


def test_the_environment_shows_the_hook_calls(
    install: Install, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    install(backend_source())
    monkeypatch.setenv("ARRAYFORMER_TRACE", "1")

    get_backend("acme")

    assert "register_backends" in capfd.readouterr().err
