"""Level 0: does the backend keep what `core/backend.py` says? Nothing is computed but copies."""

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from arrayformer.backends.contract import CLAIMS, DTYPES
from arrayformer.conformance.criterion.probes import probe
from arrayformer.conformance.run.case import case
from arrayformer.conformance.run.result import NotApplicable, Problem
from arrayformer.conformance.run.subject import Lab
from arrayformer.core import ops
from arrayformer.core.backend import API_VERSION
from arrayformer.core.bind import PLAIN_FUNCTIONS
from arrayformer.core.cache import Cache
from arrayformer.core.errors import BackendError
from arrayformer.core.params import walk


@case(0, "claims")
def claims(lab: Lab) -> None:
    """What the backend says of itself is well formed: name, version of the contract, dtypes, flags, overrides."""
    b = lab.backend
    lab.require(bool(re.fullmatch(r"[a-z][a-z0-9_]{0,31}", b.name)), f"the name {b.name!r} is no lower-case identifier")
    major, minor = b.api_version
    fits = major == API_VERSION[0] and minor <= API_VERSION[1]
    lab.require(fits, f"it was written for version {major}.{minor} of the contract, this is {API_VERSION}")
    lab.require(bool(b.dtypes) and set(b.dtypes) <= set(DTYPES), f"its dtypes are {b.dtypes}; possible are {DTYPES}")
    for flag in CLAIMS:
        lab.require(type(getattr(b, flag)) is bool, f"{flag} is {getattr(b, flag)!r}, not True or False")
    classes = ("float32", "float64", "tf32", "bfloat16", "float16")
    lab.require(b.precision in classes, f"the precision class is {b.precision!r}; possible are {', '.join(classes)}")
    unknown = set(b.overrides) - set(PLAIN_FUNCTIONS)
    lab.require(not unknown, f"it overrides what the graph does not call: {', '.join(sorted(unknown))}")
    lab.require(bool(b.version()) and isinstance(b.library, str), "it does not say which library, in which version")


@case(0, "choice")
def choice(lab: Lab) -> None:
    """A device or dtype that is there can be asked for; one that is not is refused with a list of those that are."""
    b = lab.backend
    lab.require(b.device in b.devices(), f"the device {b.device!r} is not one of its devices {list(b.devices())}")
    for dtype in b.dtypes:
        made = lab.make(device=b.device, dtype=dtype)
        lab.require(
            (made.device, made.dtype) == (b.device, dtype), f"asked for {dtype}, got {made.dtype} on {made.device}"
        )
    for what, offered in (("device", b.devices()), ("dtype", b.dtypes)):
        try:
            lab.make(**{what: "no_such_thing"})
        except BackendError as error:
            lab.require(
                offered[0] in str(error), f"the refusal of an unknown {what} does not say which there are: {error}"
            )
            continue
        raise Problem(f"an unknown {what} was accepted")


def hosts() -> Iterator[tuple[str, np.ndarray]]:
    """Host arrays of every kind a checkpoint may hold."""
    rng = np.random.Generator(np.random.PCG64(0))
    x = rng.standard_normal((6, 10)).astype(np.float32)
    yield "float32", x
    yield "a single number", np.array(1.5, dtype=np.float32)
    yield "nothing", np.zeros((0, 3), dtype=np.float32)
    yield "a transposed array", x.T
    yield "every other element", x[::2, ::-3]
    yield "big-endian", x.astype(">f4")
    frozen = x.copy()
    frozen.flags.writeable = False
    yield "a read-only array", frozen
    yield "specials", np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-38, 3e38], dtype=np.float32)
    yield "int64", rng.integers(-(2**31), 2**31, (3, 4))
    yield "int32", rng.integers(-(2**31), 2**31, (3, 4)).astype(np.int32)


@case(0, "round-trip")
def round_trip(lab: Lab) -> None:
    """Host arrays of every layout come back as they went, in memory of their own."""
    for kind, host in hosts():
        dtype = "float32" if host.dtype.kind == "f" else None
        back = lab.get(lab.backend.asarray(host, dtype))
        same = back.shape == host.shape and np.array_equal(back, host, equal_nan=host.dtype.kind == "f")
        lab.require(same, f"{kind} came back changed: {back.tolist() if back.size < 13 else back.shape}")
        signs = host.dtype.kind != "f" or np.array_equal(np.signbit(back), np.signbit(host))
        lab.require(signs, f"{kind} came back with other signs")
        lab.require(back.dtype.isnative, f"{kind} came back in a foreign byte order")
        if dtype:
            lab.require(back.dtype == np.float32, f"{kind} came back as {back.dtype}")
    flags = np.array([True, False, True])
    lab.require(np.array_equal(lab.get(lab.backend.asarray(flags, "bool")), flags), "booleans came back changed")


@case(0, "dtypes")
def dtypes(lab: Lab) -> None:
    """Arrays have the dtype that was asked for; integers get the default integer dtype."""
    b = lab.backend
    for dtype in dict.fromkeys(("float32", "int32", *b.dtypes)):
        got = b.asarray(np.ones(3, dtype=np.float32), dtype)
        lab.require(got.dtype == b.native(dtype), f"asked for {dtype}, got {got.dtype}")
    for host in (np.arange(3), np.arange(3, dtype=np.int32)):
        got = b.asarray(host)
        lab.require(got.dtype == b.index_dtype, f"{host.dtype} ids became {got.dtype}, not the default {b.index_dtype}")
    got = b.asarray(np.ones(3, dtype=np.float32))
    lab.require(got.dtype == b.native("float32"), f"float32 without a dtype became {got.dtype}")
    wide = b.asarray(np.ones(3, dtype=np.float64), "float32")
    lab.require(wide.dtype == b.native("float32"), f"float64 cast to float32 became {wide.dtype}")


def aligned(n: int) -> np.ndarray:
    """n float32 on a boundary of 128 bytes, where libraries like to share memory."""
    raw = np.zeros(4 * n + 128, dtype=np.uint8)
    start = -raw.ctypes.data % 128
    x = raw[start : start + 4 * n].view(np.float32)
    x[:] = np.arange(n)
    return x


@case(0, "copies")
def copies(lab: Lab) -> None:
    """What is on the device is a copy: writing into the host's array changes nothing there, nor the other way round.

    Some libraries go on using the host's memory where it is well aligned.
    """
    for n in (1, 16, 1024, 1 << 18):
        host = aligned(n)
        want = host.copy()
        placed = lab.backend.asarray(host, "float32")
        tree = lab.backend.place({"w": host})["w"]
        cached = lab.backend.asarray(host)
        host[:] = -7
        back = lab.get(placed)
        lab.require(np.array_equal(back, want), f"asarray shares the host's memory ({n} float32)")
        lab.require(
            np.array_equal(lab.get(cached), want), f"asarray without a dtype shares the host's memory ({n} float32)"
        )
        stored = lab.get(lab.backend.asarray(want, lab.backend.dtype))
        lab.require(np.array_equal(lab.get(tree), stored), f"place shares the host's memory ({n} float32)")
        back[:] = -9
        lab.require(np.array_equal(lab.get(placed), want), f"to_numpy gives away the device's memory ({n} float32)")
        for dtype in (np.int64, np.int32):
            ids = aligned(2 * n).view(dtype)[:n]
            ids[:] = np.arange(n)
            placed = lab.backend.asarray(ids)
            ids[:] = -7
            shared = not np.array_equal(lab.get(placed), np.arange(n))
            lab.require(not shared, f"asarray of ids shares the host's memory ({n} {ids.dtype})")


@case(0, "weights")
def weights(lab: Lab) -> None:
    """Placing weights changes no bit on the host, takes read-only and transposed ones, and keeps their nesting."""
    params = probe("p3").params()
    before = {path: x.copy() for path, x in walk(params)}
    for _, x in walk(params):
        x.flags.writeable = False
    params["blocks"][1]["mlp"]["c_fc"]["w"] = np.asfortranarray(params["blocks"][1]["mlp"]["c_fc"]["w"])
    placed = dict(walk(lab.backend.place(params)))
    lab.require(list(placed) == list(before), "the placed weights are nested otherwise than the given ones")
    for path, x in walk(params):
        lab.require(np.array_equal(x, before[path]), f"placing the weights changed {path} on the host")
        stored = lab.get(lab.backend.asarray(x, lab.backend.dtype))
        lab.require(np.array_equal(lab.get(placed[path]), stored), f"{path} is on the device with other values")
        lab.require(
            placed[path].dtype == lab.backend.native(lab.backend.dtype), f"{path} is {placed[path].dtype} on the device"
        )


@case(0, "zeros")
def zeros(lab: Lab) -> None:
    """`zeros` gives zeros of the shape and dtype asked for, each time in memory of its own."""
    first, second = (lab.backend.zeros((2, 3, 5, 4)) for _ in range(2))
    lab.check_array(first, "zeros", lab.backend.dtype)
    ones = np.ones((2, 3, 5, 4), dtype=np.float32)
    position = lab.put(np.zeros((2, 1), dtype=np.int64) + np.arange(5))
    lab.backend.compile(lab.function("write"))(first, lab.put(ones), position, lab.put(np.arange(5)))
    lab.require(
        not lab.get(second).any() and second.shape == (2, 3, 5, 4), "what is written into one is seen in the other"
    )


@case(0, "buckets")
def buckets(lab: Lab) -> None:
    """A length is padded to no less than itself and no more than the limit, and never to less than a shorter one."""
    for limit in (1, 2, 31, 33, 64, 512, 1024):
        padded = [lab.backend.bucket(n, limit) for n in range(1, limit + 1)]
        for n, m in enumerate(padded, start=1):
            lab.require(n <= m <= limit, f"{n} ids of at most {limit} are padded to {m}")
        lab.require(padded == sorted(padded), f"a longer text is padded to less than a shorter one (limit {limit})")
        lab.metric("shapes", len(set(padded)))


@case(0, "compile")
def compile(lab: Lab) -> None:
    """A compiled function gives what the function gives, for other values, other shapes, nested arguments and None."""

    def function(tree: Any, cache: Cache, x: Any, missing: Any) -> Any:
        y = x * tree["a"][0] + tree["b"]
        y = y if missing is None else y + missing
        return {"y": y}, cache._replace(length=cache.length + 1)

    compiled = lab.backend.compile(function)
    for i, n in enumerate((3, 3, 5, 3)):
        x = np.arange(n, dtype=np.float32) + i
        tree = {"a": [lab.put(np.float32(2 + i))], "b": lab.put(np.float32(i))}
        cache = Cache([lab.put(x)], [lab.put(x)], lab.put(np.array([i])), lab.put(np.arange(n)))
        missing = lab.put(x) if i == 3 else None
        result, moved = compiled(tree, cache, lab.put(x), missing)
        want = x * (2 + i) + i + (x if i == 3 else 0)
        lab.require(
            np.array_equal(lab.get(result["y"]), want),
            f"call {i + 1} of a compiled function is wrong: it kept what it saw first?",
        )
        lab.require(lab.get(moved.length).tolist() == [i + 1], f"call {i + 1}: an integer went wrong")
        lab.require(
            isinstance(moved, Cache) and np.array_equal(lab.get(moved.k[0]), x),
            f"call {i + 1}: a nested array went wrong",
        )


@case(0, "errors")
def errors(lab: Lab) -> None:
    """An exception inside a compiled function comes out, at the call or at `synchronize`."""

    class Broken(Exception):
        pass

    def function(x: Any) -> Any:
        raise Broken

    try:
        lab.backend.compile(function)(lab.put(np.zeros(2, dtype=np.float32)))
        lab.backend.synchronize()
    except Exception:
        return
    raise Problem("an exception inside a compiled function was swallowed")


@case(0, "instances")
def instances(lab: Lab) -> None:
    """Two backends in one process do not disturb each other, and functions are what they are asked for."""
    first, second = lab.make(), lab.make()
    x = np.arange(6, dtype=np.float32)
    a = first.asarray(x)
    b = second.asarray(x + 1)
    lab.require(np.array_equal(first.to_numpy(a), x) and np.array_equal(second.to_numpy(b), x + 1), "they share arrays")
    same = set(first.overrides) == set(second.overrides)
    lab.require(same, "two instances override different functions")
    wide = ops.PLAIN.activation is ops.gelu
    lab.require(wide, "the backend changed the graph's own table of functions")


@case(0, "fresh-process")
def fresh_process(lab: Lab) -> None:
    """Creating the backend in a new process works, prints nothing on standard output, and leaves no process behind."""
    if lab.spec is None:
        raise NotApplicable("the backend was given as an object, not by name")
    code = (
        "from arrayformer.conformance.run.spec import BackendSpec; "
        f"BackendSpec({lab.spec.name!r}, {lab.spec.device!r}, {lab.spec.dtype!r}).make()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=110, check=False)
    lab.require(done.returncode == 0, f"exit code {done.returncode}: {done.stderr.strip()[-500:]}")
    lab.require(not done.stdout, f"it prints on standard output: {done.stdout[:200]!r}")


@case(0, "listing")
def listing(lab: Lab) -> None:
    """Listing the backends imports neither NumPy nor the array library."""
    if lab.spec is None or ":" in lab.spec.name:
        raise NotApplicable("the backend is not installed as a plugin")
    module = getattr(lab.backend.xp, "__name__", "numpy").split(".")[0]
    code = (
        "import sys; from arrayformer.backends.registry import list_backends; "
        "names = [b.name for b in list_backends()]; "
        f"assert {lab.backend.name!r} in names, names; "
        f"loaded = [m for m in ('numpy', {module!r}) if m in sys.modules]; "
        "assert not loaded, f'listing imported {loaded}'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=110, check=False)
    lab.require(done.returncode == 0, done.stderr.strip().splitlines()[-1] if done.stderr else "failed")
