"""Is a backend fit to run? Asked in a process of its own, which may hang, exit or crash without taking us along."""

import faulthandler
import locale
import os
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from arrayformer.backends.contract import CLAIMS
from arrayformer.backends.registry import find_backend, get_backend, load_factory
from arrayformer.core.child import Child, ChildEndedError, ChildTimeoutError, Requests, ended_with
from arrayformer.core.errors import BackendError, PluginError
from arrayformer.core.plugins.discovery import PluginInfo
from arrayformer.core.plugins.loading import advice

TIME_LIMIT = 60.0  # seconds; importing PyTorch with CUDA from a cold disk takes some ten
MOST_OUTPUT = 20_000  # bytes at the end of what it wrote


@dataclass(frozen=True)
class Report:
    """What came of trying a backend.

    state      "works", "unavailable" (its own reason is in `error`) or "broken"
    step       where it stopped, or "done"
    needs      how many functions and methods of the standard the graph calls
    lacks      which of them its namespace and its arrays have not
    changed    settings of the whole process it changed
    output     what it wrote while it was tried, standard output and error together
    """

    name: str
    distribution: str
    version: str
    value: str
    state: str
    step: str = "done"
    error: str = ""
    traceback: str = ""
    library: str = ""
    device: str = ""
    devices: list[str] = field(default_factory=list)
    dtypes: list[str] = field(default_factory=list)
    capabilities: dict[str, Any] = field(default_factory=dict)
    needs: int = 0
    lacks: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    output: str = ""


def check_backend(name: str, *, timeout: float = TIME_LIMIT, create: bool = True) -> Report:
    """Load the backend `name` in a process of its own, create it there and compute with it.

    create  False stops once its entry point is loaded, which tells a broken plugin from one without its hardware

    Raises BackendError where `name` is not one installed backend; all that happens later is in the report.
    """
    info = find_backend(name)
    if info.status == "not installed":
        error = f"{info.name} is not installed; {advice(info.name)}"
        return Report(info.name, info.distribution, info.version, info.value, "unavailable", "looking for it", error)
    arguments = ("-m", "arrayformer.backends.probe", name, str(timeout), *["load"] * (not create))
    with tempfile.TemporaryFile() as sink:
        with Child(*arguments, stderr=sink) as child:
            child.start()
            found, code = outcome(child, timeout + 2)
        sink.seek(-min(sink.tell(), MOST_OUTPUT), os.SEEK_CUR)
        return judge(info, found, code, sink.read().decode(errors="replace"), timeout)


def outcome(child: Child, seconds: float) -> tuple[dict[str, Any], int | None]:
    """What the child tells, later words over earlier ones, and the code it ended with (None: it had to be killed)."""
    found: dict[str, Any] = {}
    deadline = time.monotonic() + seconds
    try:
        while found.get("step") != "done" and "error" not in found:
            found |= child.receive(max(0.0, deadline - time.monotonic()))
    except ChildTimeoutError:
        return found, None
    except ChildEndedError as ended:
        return found, ended.code
    return found, 0


def judge(info: PluginInfo, found: dict[str, Any], code: int | None, output: str, timeout: float) -> Report:
    """The report on a child that ended with `code` (None: it was killed)."""
    ended = "ended" if code is not None and code >= 0 else "killed"
    report = Report(info.name, info.distribution, info.version, info.value, "broken", output=output)
    report = replace(report, **found)
    if report.step == "done" or report.error:
        return report
    if code is None or "Timeout (" in output:
        return replace(report, error=f"no answer within {timeout:g} seconds", traceback=stacks(output))
    return replace(report, error=f"the process {ended} with {ended_with(code)}", traceback=stacks(output))


def stacks(output: str) -> str:
    """What faulthandler wrote about where each thread stood."""
    starts = [i for i in (output.find("Timeout ("), output.find("Fatal Python error")) if i >= 0]
    return output[min(starts) :] if starts else ""


def try_out(name: str, create: bool) -> Iterator[dict[str, Any]]:
    """In the child: what is known after each step."""
    info = find_backend(name)
    yield {"step": f"importing {info.value}"}
    before = settings()
    load_factory(info)
    if create:
        yield {"step": "creating the backend"}
        backend = get_backend(name)
        yield {"step": "making an array"}
        yield {"step": "computing", **describe(backend)}
        compute(backend)
    yield {"step": "done", "state": "works", "changed": [n for n, v in settings().items() if before[n] != v]}


def describe(backend: Any) -> dict[str, Any]:
    """What the backend says of itself."""
    import numpy as np

    from arrayformer.core.array_api import functions, methods

    x = backend.asarray(np.zeros(1, dtype=np.float32), backend.dtype)
    claims = {n: getattr(backend, n) for n in CLAIMS} | {"precision": backend.precision}
    return {
        "library": f"{backend.library} {backend.version()}", "device": str(backend.device),
        "devices": [str(d) for d in backend.devices()], "dtypes": list(backend.dtypes),
        "capabilities": claims | {"overrides": sorted(backend.overrides)},
        "needs": len(functions()) + len(methods()),
        "lacks": [f for f in functions() if not hasattr(backend.xp, f)] + [m for m in methods() if not hasattr(x, m)],
    }  # fmt: skip


def compute(backend: Any) -> None:
    """One product on the device. Raises PluginError where it comes back wrong, or the graph would know no namespace."""
    import numpy as np

    from arrayformer.core.array_api import array_namespace, device

    host = np.arange(6, dtype=np.float32).reshape(2, 3)
    x = backend.asarray(host, backend.dtype)
    try:
        array_namespace(x), device(x)
    except (TypeError, AttributeError) as error:
        advice = "supply it with arrayformer.core.array_api.register_namespace"
        raise PluginError(f"backend {backend.name!r}: {type(x).__name__}: {error}; {advice}") from error
    product = backend.to_numpy(backend.compile(lambda a: a @ backend.xp.matrix_transpose(a))(x))
    backend.synchronize()
    if type(product) is not np.ndarray or product.shape != (2, 2) or not np.array_equal(product, host @ host.T):
        raise PluginError(f"backend {backend.name!r}: [[0, 1, 2], [3, 4, 5]] times its transpose gave {product!r}")


def settings() -> dict[str, Any]:
    """Settings of the whole process that a plugin has no business to change."""
    numpy = sys.modules.get("numpy")
    as_shipped = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}
    return {
        "numpy.seterr": numpy.geterr() if numpy else as_shipped,
        "locale": locale.setlocale(locale.LC_ALL),
        "working directory": os.getcwd(),
        "signal handlers": [str(signal.getsignal(s)) for s in (signal.SIGINT, signal.SIGTERM)],
        "warnings filters": [f[0] for f in warnings.filters if f[0] == "error"],
        "recursion limit": sys.getrecursionlimit(),
    }


def main(name: str, timeout: str, *load: str) -> None:
    """In the child: tell what is known after each step."""
    parent = Requests()
    faulthandler.enable()
    faulthandler.dump_traceback_later(float(timeout), exit=True)
    try:
        for known in try_out(name, create=not load):
            parent.answer(known)
    except BaseException as error:
        own = isinstance(error, BackendError) and not isinstance(error, PluginError)
        text = str(error) or type(error).__name__
        state = "unavailable" if own else "broken"
        parent.answer({"state": state, "error": text, "traceback": traceback.format_exc()})


if __name__ == "__main__":
    main(*sys.argv[1:])
