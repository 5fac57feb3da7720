"""Does what a factory returned keep the contract of `core/backend.py`? Judged before it computes anything."""

from collections.abc import Mapping
from typing import Any

from arrayformer.core.backend import API_VERSION, Backend
from arrayformer.core.errors import PluginError
from arrayformer.core.ops import OPS
from arrayformer.core.plugins.discovery import PluginInfo

DTYPES = ("float64", "float32", "float16", "bfloat16")
CLAIMS = ("consumes_cache", "compiles", "deterministic", "batch_invariant")


def check_contract(info: PluginInfo, backend: Any) -> None:
    """Raises PluginError, naming the plugin at fault, for what is no Backend of a version this package speaks."""
    if not isinstance(backend, Backend):
        kind = type(backend).__name__
        raise fault(info, f"its factory returned a {kind}; it has to be a subclass of arrayformer.core.backend.Backend")
    check_version(info, backend.api_version)
    for name in ("name", "library", "xp"):
        if not hasattr(backend, name):
            raise fault(info, f"it has no attribute {name!r}")
    if backend.name != info.name:
        raise fault(info, f"its name says {backend.name!r}, it was registered as {info.name!r}")
    check_claims(info, backend)
    check_overrides(info, backend.overrides)


def check_version(info: PluginInfo, spoken: Any) -> None:
    """Raises PluginError unless the backend was written for this major version, and for no later minor one."""
    whole = isinstance(spoken, tuple) and len(spoken) == 2 and all(type(n) is int for n in spoken)
    if not whole:
        raise fault(info, f"its api_version is {spoken!r}; it is two integers, for example {API_VERSION}")
    major, minor = API_VERSION
    if spoken[0] != major or spoken[1] > minor:
        ours = f"{major}.0" if minor == 0 else f"{major}.0 to {major}.{minor}"
        newer = spoken > API_VERSION
        advice = f"upgrade arrayformer or install {info.distribution}<{info.version}" if newer else "upgrade the plugin"
        raise PluginError(
            f"backend {info.name!r} speaks plugin API {spoken[0]}.{spoken[1]}, this arrayformer speaks {ours}\n"
            f"  provided by: {info.distribution} {info.version};  {advice}"
        )


def check_claims(info: PluginInfo, backend: Backend) -> None:
    """Raises PluginError for a claim that says nothing the conformance suite could test."""
    dtypes = backend.dtypes
    if not isinstance(dtypes, tuple) or not dtypes or not set(dtypes) <= set(DTYPES):
        raise fault(info, f"its dtypes are {dtypes!r}; they are a tuple of {', '.join(DTYPES)}, the default first")
    for flag in CLAIMS:
        if type(getattr(backend, flag)) is not bool:
            raise fault(info, f"its {flag} is {getattr(backend, flag)!r}; it is True or False")


def check_overrides(info: PluginInfo, overrides: Any) -> None:
    """Raises PluginError for an override of something the graph does not call."""
    if not isinstance(overrides, Mapping):
        raise fault(info, f"its overrides are {overrides!r}; they are a dict of functions by name")
    for name, function in overrides.items():
        if name not in OPS:
            raise fault(info, f"it overrides {name!r}; what can be overridden is {', '.join(sorted(OPS))}")
        if not callable(function):
            raise fault(info, f"its override of {name!r} is {function!r}, which cannot be called")


def fault(info: PluginInfo, what: str) -> PluginError:
    """The error for a contract that was not kept."""
    return PluginError(
        f"backend {info.name!r} does not keep the contract: {what}\n"
        f"  this is a fault of {info.distribution} {info.version}; run: arrayformer plugins --check {info.name}"
    )
