"""Level 0: does the backend keep what `core/backend.py` says? Nothing is computed but copies."""

import re
import subprocess
from collections.abc import Iterator
from typing import Any

import numpy as np

from arrayformer.backends.contract import CLAIMS, DTYPES
from arrayformer.conformance.criterion.judgement import Judge
from arrayformer.conformance.criterion.probes import probe
from arrayformer.conformance.run.case import case
from arrayformer.conformance.run.result import NotApplicable, Problem
from arrayformer.conformance.run.subject import Subject
from arrayformer.core import ops
from arrayformer.core.backend import API_VERSION
from arrayformer.core.child import python
from arrayformer.core.decoder import Cache
from arrayformer.core.errors import BackendError
from arrayformer.core.ops import OPS
from arrayformer.core.params import Weight, walk


@case(0, "claims")
def claims(subject: Subject, judge: Judge) -> None:
    """What the backend says of itself is well formed: name, version of the contract, dtypes, flags, overrides."""
    b = subject.backend
    judge.require(
        bool(re.fullmatch(r"[a-z][a-z0-9_]{0,31}", b.name)), f"the name {b.name!r} is no lower-case identifier"
    )
    major, minor = b.api_version
    fits = major == API_VERSION[0] and minor <= API_VERSION[1]
    judge.require(fits, f"it was written for version {major}.{minor} of the contract, this is {API_VERSION}")
    judge.require(bool(b.dtypes) and set(b.dtypes) <= set(DTYPES), f"its dtypes are {b.dtypes}; possible are {DTYPES}")
    for flag in CLAIMS:
        judge.require(type(getattr(b, flag)) is bool, f"{flag} is {getattr(b, flag)!r}, not True or False")
    classes = ("float32", "float64", "tf32", "bfloat16", "float16")
    judge.require(b.precision in classes, f"the precision class is {b.precision!r}; possible are {', '.join(classes)}")
    unknown = set(b.overrides) - OPS
    judge.require(not unknown, f"it overrides what the graph does not call: {', '.join(sorted(unknown))}")
    judge.require(bool(b.version()) and isinstance(b.library, str), "it does not say which library, in which version")


@case(0, "choice")
def choice(subject: Subject, judge: Judge) -> None:
    """A device or dtype that is there can be asked for; one that is not is refused with a list of those that are."""
    b = subject.backend
    judge.require(b.device in b.devices(), f"the device {b.device!r} is not one of its devices {list(b.devices())}")
    for dtype in b.dtypes:
        made = subject.make(device=b.device, dtype=dtype)
        judge.require(
            (made.device, made.dtype) == (b.device, dtype), f"asked for {dtype}, got {made.dtype} on {made.device}"
        )
    for what, offered in (("device", b.devices()), ("dtype", b.dtypes)):
        try:
            subject.make(**{what: "no_such_thing"})
        except BackendError as error:
            judge.require(
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
def round_trip(subject: Subject, judge: Judge) -> None:
    """Host arrays of every layout come back as they went, in memory of their own."""
    for kind, host in hosts():
        dtype = "float32" if host.dtype.kind == "f" else None
        back = subject.get(subject.backend.asarray(host, dtype))
        same = back.shape == host.shape and np.array_equal(back, host, equal_nan=host.dtype.kind == "f")
        judge.require(same, f"{kind} came back changed: {back.tolist() if back.size < 13 else back.shape}")
        signs = host.dtype.kind != "f" or np.array_equal(np.signbit(back), np.signbit(host))
        judge.require(signs, f"{kind} came back with other signs")
        judge.require(back.dtype.isnative, f"{kind} came back in a foreign byte order")
        if dtype:
            judge.require(back.dtype == np.float32, f"{kind} came back as {back.dtype}")
    flags = np.array([True, False, True])
    judge.require(
        np.array_equal(subject.get(subject.backend.asarray(flags, "bool")), flags), "booleans came back changed"
    )


@case(0, "dtypes")
def dtypes(subject: Subject, judge: Judge) -> None:
    """Arrays have the dtype that was asked for; integers get the default integer dtype."""
    b = subject.backend
    for dtype in dict.fromkeys(("float32", "int32", *b.dtypes)):
        got = b.asarray(np.ones(3, dtype=np.float32), dtype)
        judge.require(got.dtype == b.native(dtype), f"asked for {dtype}, got {got.dtype}")
    for host in (np.arange(3), np.arange(3, dtype=np.int32)):
        got = b.asarray(host)
        judge.require(
            got.dtype == b.index_dtype, f"{host.dtype} ids became {got.dtype}, not the default {b.index_dtype}"
        )
    got = b.asarray(np.ones(3, dtype=np.float32))
    judge.require(got.dtype == b.native("float32"), f"float32 without a dtype became {got.dtype}")
    wide = b.asarray(np.ones(3, dtype=np.float64), "float32")
    judge.require(wide.dtype == b.native("float32"), f"float64 cast to float32 became {wide.dtype}")


def aligned(n: int) -> np.ndarray:
    """n float32 on a boundary of 128 bytes, where libraries like to share memory."""
    raw = np.zeros(4 * n + 128, dtype=np.uint8)
    start = -raw.ctypes.data % 128
    x = raw[start : start + 4 * n].view(np.float32)
    x[:] = np.arange(n)
    return x


@case(0, "copies")
def copies(subject: Subject, judge: Judge) -> None:
    """What is on the device is a copy: writing into the host's array changes nothing there, nor the other way round.

    Some libraries go on using the host's memory where it is well aligned.
    """
    for n in (1, 16, 1024, 1 << 18):
        host = aligned(n)
        want = host.copy()
        placed = subject.backend.asarray(host, "float32")
        tree = subject.backend.place({"w": host}, {"w": Weight((n,), "shift")})["w"]
        cached = subject.backend.asarray(host)
        host[:] = -7
        back = subject.get(placed)
        judge.require(np.array_equal(back, want), f"asarray shares the host's memory ({n} float32)")
        judge.require(
            np.array_equal(subject.get(cached), want), f"asarray without a dtype shares the host's memory ({n} float32)"
        )
        stored = subject.get(subject.backend.asarray(want, subject.backend.dtype))
        judge.require(np.array_equal(subject.get(tree), stored), f"place shares the host's memory ({n} float32)")
        back[:] = -9
        judge.require(
            np.array_equal(subject.get(placed), want), f"to_numpy gives away the device's memory ({n} float32)"
        )
        for dtype in (np.int64, np.int32):
            ids = aligned(2 * n).view(dtype)[:n]
            ids[:] = np.arange(n)
            placed = subject.backend.asarray(ids)
            ids[:] = -7
            shared = not np.array_equal(subject.get(placed), np.arange(n))
            judge.require(not shared, f"asarray of ids shares the host's memory ({n} {ids.dtype})")


@case(0, "weights")
def weights(subject: Subject, judge: Judge) -> None:
    """Placing weights changes no bit on the host, takes read-only and transposed ones, and keeps their nesting."""
    params = probe("p3").params()
    before = {path: x.copy() for path, x in walk(params)}
    for _, x in walk(params):
        x.flags.writeable = False
    params["blocks"][1]["mlp"]["c_fc"]["w"] = np.asfortranarray(params["blocks"][1]["mlp"]["c_fc"]["w"])
    placed = dict(walk(subject.backend.place(params, probe("p3").config.weights())))
    judge.require(list(placed) == list(before), "the placed weights are nested otherwise than the given ones")
    for path, x in walk(params):
        judge.require(np.array_equal(x, before[path]), f"placing the weights changed {path} on the host")
        stored = subject.get(subject.backend.asarray(x, subject.backend.dtype))
        judge.require(np.array_equal(subject.get(placed[path]), stored), f"{path} is on the device with other values")
        judge.require(
            placed[path].dtype == subject.backend.native(subject.backend.dtype),
            f"{path} is {placed[path].dtype} on the device",
        )


@case(0, "zeros")
def zeros(subject: Subject, judge: Judge) -> None:
    """`zeros` gives zeros of the shape and dtype asked for, each time in memory of its own."""
    first, second = (subject.backend.zeros((2, 3, 5, 4)) for _ in range(2))
    judge.array(subject, first, "zeros", subject.backend.dtype)
    ones = np.ones((2, 3, 5, 4), dtype=np.float32)
    position = subject.put(np.zeros((2, 1), dtype=np.int64) + np.arange(5))
    subject.backend.compile(subject.function("write"))(first, subject.put(ones), position)
    judge.require(
        not subject.get(second).any() and second.shape == (2, 3, 5, 4), "what is written into one is seen in the other"
    )


@case(0, "buckets")
def buckets(subject: Subject, judge: Judge) -> None:
    """A length is padded to no less than itself and no more than the limit, and never to less than a shorter one."""
    for limit in (1, 2, 31, 33, 64, 512, 1024):
        padded = [subject.backend.bucket(n, limit) for n in range(1, limit + 1)]
        for n, m in enumerate(padded, start=1):
            judge.require(n <= m <= limit, f"{n} ids of at most {limit} are padded to {m}")
        judge.require(padded == sorted(padded), f"a longer text is padded to less than a shorter one (limit {limit})")
        judge.metric("shapes", len(set(padded)))


@case(0, "compile")
def compile(subject: Subject, judge: Judge) -> None:
    """A compiled function gives what the function gives, for other values, other shapes, nested arguments and None."""

    def function(tree: Any, cache: Cache, x: Any, missing: Any) -> Any:
        y = x * tree["a"][0] + tree["b"]
        y = y if missing is None else y + missing
        return {"y": y}, cache._replace(length=cache.length + 1)

    compiled = subject.backend.compile(function)
    for i, n in enumerate((3, 3, 5, 3)):
        x = np.arange(n, dtype=np.float32) + i
        tree = {"a": [subject.put(np.float32(2 + i))], "b": subject.put(np.float32(i))}
        cache = Cache([(subject.put(x), subject.put(x))], subject.put(np.array([i])), [])
        missing = subject.put(x) if i == 3 else None
        result, moved = compiled(tree, cache, subject.put(x), missing)
        want = x * (2 + i) + i + (x if i == 3 else 0)
        judge.require(
            np.array_equal(subject.get(result["y"]), want),
            f"call {i + 1} of a compiled function is wrong: it kept what it saw first?",
        )
        judge.require(subject.get(moved.length).tolist() == [i + 1], f"call {i + 1}: an integer went wrong")
        judge.require(
            isinstance(moved, Cache) and np.array_equal(subject.get(moved.layers[0][0]), x),
            f"call {i + 1}: a nested array went wrong",
        )


@case(0, "errors")
def errors(subject: Subject, judge: Judge) -> None:
    """An exception inside a compiled function comes out, at the call or at `synchronize`."""

    class Broken(Exception):
        pass

    def function(x: Any) -> Any:
        raise Broken

    try:
        subject.backend.compile(function)(subject.put(np.zeros(2, dtype=np.float32)))
        subject.backend.synchronize()
    except Exception:
        return
    raise Problem("an exception inside a compiled function was swallowed")


@case(0, "instances")
def instances(subject: Subject, judge: Judge) -> None:
    """Two backends in one process do not disturb each other, and functions are what they are asked for."""
    first, second = subject.make(), subject.make()
    x = np.arange(6, dtype=np.float32)
    a = first.asarray(x)
    b = second.asarray(x + 1)
    judge.require(
        np.array_equal(first.to_numpy(a), x) and np.array_equal(second.to_numpy(b), x + 1), "they share arrays"
    )
    same = set(first.overrides) == set(second.overrides)
    judge.require(same, "two instances override different functions")
    wide = ops.PLAIN.gelu is ops.gelu
    judge.require(wide, "the backend changed the graph's own table of functions")


@case(0, "fresh-process")
def fresh_process(subject: Subject, judge: Judge) -> None:
    """Creating the backend in a new process works, prints nothing on standard output, and leaves no process behind."""
    if subject.spec is None:
        raise NotApplicable("the backend was given as an object, not by name")
    code = (
        "from arrayformer.conformance.run.spec import BackendSpec; "
        f"BackendSpec({subject.spec.name!r}, {subject.spec.device!r}, {subject.spec.dtype!r}).make()"
    )
    done = subprocess.run(python("-c", code), capture_output=True, text=True, timeout=110, check=False)
    judge.require(done.returncode == 0, f"exit code {done.returncode}: {done.stderr.strip()[-500:]}")
    judge.require(not done.stdout, f"it prints on standard output: {done.stdout[:200]!r}")


@case(0, "listing")
def listing(subject: Subject, judge: Judge) -> None:
    """Listing the backends imports neither NumPy nor the array library."""
    if subject.spec is None or ":" in subject.spec.name:
        raise NotApplicable("the backend is not installed as a plugin")
    module = getattr(subject.backend.xp, "__name__", "numpy").split(".")[0]
    code = (
        "import sys; from arrayformer.backends.registry import list_backends; "
        "names = [b.name for b in list_backends()]; "
        f"assert {subject.backend.name!r} in names, names; "
        f"loaded = [m for m in ('numpy', {module!r}) if m in sys.modules]; "
        "assert not loaded, f'listing imported {loaded}'"
    )
    done = subprocess.run(python("-c", code), capture_output=True, text=True, timeout=110, check=False)
    judge.require(done.returncode == 0, done.stderr.strip().splitlines()[-1] if done.stderr else "failed")
