"""Broken plugins: each is named with its error and its distribution, and stops nothing else."""

import pytest

from arrayformer.backends.registry import get_backend, list_backends
from arrayformer.core.errors import BackendError

from .conftest import Install, backend_source

REGISTER = "from arrayformer import hookimpl\n@hookimpl\ndef register_backends(register):\n    "

# what the plugin's module says -> what the error has to say of it
FAULTS = {
    "ImportError": ("raise ImportError('libcublas.so.12: cannot open shared object file')", "ImportError: libcublas"),
    "a library that is not there": ("import no_such_library", "No module named 'no_such_library'"),
    "SyntaxError": ("def broken(:", "SyntaxError"),
    "SystemExit": ("raise SystemExit(3)", "SystemExit: 3"),
    "an exception of its own kind": ("class Odd(BaseException): pass\nraise Odd('odd')", "Odd: odd"),
    "no hook": ("pass", "is its function marked with @arrayformer.hookimpl?"),
    "an unmarked hook": ("def register_backends(register): register('acme', dict)", "marked with @"),
    "a misspelled hook": ("from arrayformer import hookimpl\n@hookimpl\ndef register_backend(register): pass",
                          "unknown hook 'register_backend'"),
    "a hook with an argument too many": (REGISTER.replace("(register)", "(register, more)") + "pass", "more"),
    "a hook that raises": (REGISTER + "1 / 0", "ZeroDivisionError"),
    "another name than its entry point's": (REGISTER + "register('other', dict)", "it registers is 'other'"),
    "one name twice": (REGISTER + "register('acme', dict); register('acme', list)", "it registers 'acme' 2 times"),
    "a factory that is none": (REGISTER + "register('acme', 7)", "cannot be called"),
    "a factory that raises": (REGISTER + "register('acme', lambda device, dtype: 1 / 0)", "creating the backend"),
    "a factory that exits": (REGISTER + "register('acme', lambda device, dtype: exit())", "SystemExit"),
    "a factory without arguments": (REGISTER + "register('acme', lambda: 1)", "TypeError"),
    "what is no backend": (REGISTER + "register('acme', lambda **o: 'x')", "returned a str"),
    "no name": (backend_source().replace('name = "acme"', "pass"), "no attribute 'name'"),
    "no namespace": (backend_source("del xp"), "no attribute 'xp'"),
    "another name": (backend_source("name = 'other'"), "its name says 'other'"),
    "no dtypes": (backend_source("dtypes = ()"), "no dtype here"),
    "unknown dtypes": (backend_source("dtypes = ('float8',)"), "its dtypes are ('float8',)"),
    "a claim that is neither true nor false": (backend_source("compiles = 'yes'"), "its compiles is 'yes'"),
    "overrides that are no table": (backend_source("overrides = ['gelu']"), "a dict of functions by name"),
    "an override of nothing": (backend_source("overrides = {'gelo': len}"), "it overrides 'gelo'"),
    "an override that is no function": (backend_source("overrides = {'gelu': 7}"), "its override of 'gelu' is 7"),
    "a later major version": (backend_source("api_version = (2, 0)"), "speaks plugin API 2.0, this arrayformer"),
    "a later minor version": (backend_source("api_version = (1, 99)"), "install acme-af<0.9.0"),
    "an earlier version": (backend_source("api_version = (0, 9)"), "upgrade the plugin"),
    "a version that is none": (backend_source("api_version = '1.0'"), "its api_version is '1.0'"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_plugin_is_one_error_that_names_it(install: Install, fault: str) -> None:
    source, says = FAULTS[fault]
    install(source)

    with pytest.raises(BackendError) as caught:
        get_backend("acme")

    assert says in str(caught.value)
    assert "acme" in str(caught.value)
    assert caught.value.exit_code == 4
    assert get_backend("numpy").name == "numpy"


@pytest.mark.parametrize(
    ("value", "says"), [("acme_af:nothing", "AttributeError"), ("acme_gone", "No module named 'acme_gone'")]
)
def test_an_entry_point_to_nothing_is_named(install: Install, value: str, says: str) -> None:
    install(backend_source(), value=value)

    with pytest.raises(BackendError) as caught:
        get_backend("acme")

    assert says in str(caught.value)
    assert f"acme-af 0.9.0 (entry point acme = {value})" in str(caught.value)
    assert "other backends are not affected; available: " in str(caught.value)
    assert "arrayformer plugins --check acme" in str(caught.value)


def test_an_entry_point_may_be_an_object_with_the_hook(install: Install) -> None:
    source = backend_source().replace("@hookimpl\ndef", "class Plugin:\n  @hookimpl\n  def").replace(
        "(register):\n    ", "(self, register):\n    "
    ) + "plugin = Plugin()"  # fmt: skip
    install(source, value="acme_af:plugin")

    assert get_backend("acme").name == "acme"


@pytest.mark.parametrize("points", ["[arrayformer]\nacme\n", "[arrayformer]\nacme = \n", "[arrayformer\nacme = x\n"])
def test_metadata_that_cannot_be_read_hides_nothing_else(install: Install, points: str) -> None:
    install(None, points=points)
    install(backend_source(), distribution="good-af")

    assert get_backend("acme@good-af").name == "acme"
    assert {"numpy", "acme"} <= {i.name for i in list_backends()}


def test_a_distribution_without_a_name_is_still_listed(install: Install) -> None:
    install(backend_source(), metadata=False)

    assert "acme" in [i.name for i in list_backends()]


def test_the_user_s_interrupt_is_not_swallowed(install: Install) -> None:
    install("raise KeyboardInterrupt")

    with pytest.raises(KeyboardInterrupt):
        get_backend("acme")


def test_what_a_plugin_prints_stays_out_of_standard_output(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install("print('hello from acme')\n" + backend_source())

    get_backend("acme")

    written = capsys.readouterr()
    assert written.out == ""
    assert "hello from acme" in written.err


def test_a_registration_that_fails_leaves_nothing_behind(install: Install) -> None:
    install(REGISTER + "register('acme', dict); 1 / 0")

    for _ in range(2):
        with pytest.raises(BackendError, match="ZeroDivisionError"):
            get_backend("acme")
