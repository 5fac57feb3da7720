"""One model's weights on one backend, and the contexts in which it reads."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any, Self

import numpy as np

from arrayformer.core.architecture import Architecture, Tables
from arrayformer.core.array_api import Array
from arrayformer.core.backend import Backend
from arrayformer.core.checked import CheckedBackend, apart
from arrayformer.core.checks import check_context, check_ids
from arrayformer.core.decoder import Cache, forward
from arrayformer.core.errors import BackendError, InputError
from arrayformer.core.ops import PLAIN, Tap, untouched
from arrayformer.core.params import Params
from arrayformer.core.sampling import Draw, Picked, Plan, pick


@contextmanager
def enough_memory(what: str, advice: str = "use fewer rows at a time, or a shorter context") -> Iterator[None]:
    """Turns a library's MemoryError into a BackendError that says for what there was too little."""
    try:
        yield
    except MemoryError as error:
        raise BackendError(f"out of memory for {what}: {advice}") from error


@lru_cache(maxsize=8)
def _tables(model: Architecture, n: int, n_text: int) -> Tables:
    """`model.rotations`, made once for each length of context."""
    return model.rotations(n, n_text)


class Engine:
    """One model's weights on one backend. Threads may share it: each step waits for the one before.

    config   the architecture with its sizes and switches
    params   the weights on the host, nested as `config.weights()` says
    backend  where they go; `checked` is what it gives and takes, every fault of it one error that names it
    owned    whether the backend may keep or consume the host's arrays
    """

    def __init__(self, config: Architecture, params: Params, backend: Backend, *, owned: bool = False) -> None:
        self.config = config
        self.backend = backend
        self.checked = CheckedBackend(backend)
        self.ops = PLAIN.replaced(backend.overrides)
        with enough_memory("the weights", "choose a smaller model, a narrower dtype or another device"):
            self.params = self.checked.place(params, config.weights(), owned=owned)
        self.turn = threading.RLock()
        self._compiled: dict[Plan | None, Callable[..., Any]] = {}

    def step(self, plan: Plan | None, tap: Tap = untouched) -> Callable[..., tuple[Any, Cache]]:
        """(params, cache, ids, only, draw) -> (logits or Picked, cache): read `ids`, and draw where there is a plan to.

        Compiled once for each plan; as written where somebody taps, so that the tap sees each tensor as it is computed.
        """
        if tap is not untouched:
            return self.checked.guarded("a step", partial(self._run, plan, apart(tap)))
        if plan not in self._compiled:
            self._compiled[plan] = self.checked.compile(partial(self._run, plan, untouched), donate=(1,))
        return self._compiled[plan]

    def _run(
        self, plan: Plan | None, tap: Tap, params: Params, cache: Cache, ids: Array, only: Array | None,
        draw: Draw | None,
    ) -> tuple[Array | Picked, Cache]:  # fmt: skip
        logits, cache = forward(self.config, params, ids, cache, only=only, ops=self.ops, tap=tap)
        self.checked.check_logits(logits, (*(ids if only is None else only).shape, self.config.n_vocab))
        return (logits if plan is None or draw is None else pick(logits, draw, plan, self.ops)), cache

    def context(self, batch: int = 1, capacity: int | None = None) -> "Context":
        """An empty context of `batch` rows for up to `capacity` ids each (the model's context)."""
        return Context(self, batch, capacity)

    def logits(self, ids: Sequence[int], tap: Tap | None = None) -> np.ndarray:
        """Logits [seq, n_vocab] float32 after each of `ids`, on the host.

        With a `tap` the step runs uncompiled, so that the tap sees each tensor as it is computed.
        """
        context = self.context(1, len(ids))
        return self.checked.to_numpy(context.read([ids], every=True, tap=tap))[0, : len(ids)]

    def empty_cache(self, batch: int, capacity: int, n_text: int | None = None) -> Cache:
        """A cache that nothing was read into, for texts of up to `n_text` ids (`capacity`)."""
        shape = (batch, self.config.n_kv_head, capacity, self.config.head_dim)
        arrays = self.checked.cache_arrays(2 * self.config.n_layer, shape)
        dtype = "float64" if self.backend.dtype == "float64" else "float32"
        tables = _tables(self.config, capacity, capacity if n_text is None else n_text)
        return Cache(
            layers=list(zip(arrays[::2], arrays[1::2], strict=True)),
            length=self.checked.asarray(np.zeros(batch, dtype=np.int64)),
            rotations=[(self.checked.asarray(cos, dtype), self.checked.asarray(sin, dtype)) for cos, sin in tables],
        )


class Context:
    """Rows of ids that a model has read, and what it remembers of them.

    lengths   per row, how many ids were read. The host owns them: setting one back forgets what came after
    n_text    how many ids were asked for
    capacity  how many ids a row can hold: `n_text`, or more where a compiler wants fewer shapes
    """

    def __init__(self, engine: Engine, batch: int, capacity: int | None = None) -> None:
        n_ctx = engine.config.n_ctx
        if batch < 1:
            raise InputError(f"a context of {batch} rows was asked for; it needs one at least")
        wanted = n_ctx if capacity is None else capacity
        check_context(wanted, n_ctx)
        self.engine = engine
        self.n_text = max(1, wanted)
        self.capacity = engine.checked.bucket(self.n_text, n_ctx)
        self.lengths = [0] * batch
        with enough_memory(f"the keys and values of {batch} rows of {self.capacity} ids"):
            self.cache = engine.empty_cache(batch, self.capacity, self.n_text)

    def read(self, rows: Sequence[Sequence[int]], *, every: bool = False, tap: Tap | None = None) -> Array:
        """Read the ids in `rows`, one list for each row of the context; a row may be empty.

        returns  logits on the device: [batch, n_vocab] after each row's last id, or with `every`
                 [batch, seq, n_vocab] after each id (seq is the longest row, or its bucket)

        Raises InputError, before anything is written, for what is no id or does not fit. A step that fails
        halfway leaves the context as it was: only `lengths` says what was read.
        """
        ids = self._check(rows)
        last = None if every else np.array([[max(0, len(row) - 1)] for row in ids])
        logits: Array = self._advance(ids, last, None, None, tap)
        seq = logits.shape[1] if every else 1
        self.engine.checked.check_array(logits, (len(rows), seq, self.engine.config.n_vocab))
        return logits if every else logits[:, 0, :]

    def draw(self, rows: Sequence[Sequence[int]], places: np.ndarray, draw: Draw, plan: Plan) -> Picked:
        """Read `rows` and draw an id at each of `places` [batch, n] in them.

        What is returned lies on the host, all but `seen`.
        """
        with np.errstate(all="ignore"):  # what is not finite comes back as id -1; NumPy need not warn of it too
            picked: Picked = self._advance(self._check(rows), places, draw, plan)
        self.engine.checked.check_array(picked.ids, places.shape)
        arrays = {name: x for name, x in picked._asdict().items() if x is not None and name != "seen"}
        return picked._replace(**{name: self.engine.checked.to_numpy(x) for name, x in arrays.items()})

    def fork(self) -> "Context":
        """Another context that has read the same and goes its own way."""
        twin = Context(self.engine, len(self.lengths), self.n_text)
        rows = list(range(len(self.lengths)))
        twin.take(self, rows, rows)
        return twin

    def take(self, other: "Context", rows: Sequence[int], at: Sequence[int]) -> Self:
        """Copy `rows` of another context of the same capacity into the rows `at` of this one."""
        if other.capacity != self.capacity or other.engine is not self.engine:
            raise InputError("rows can be copied only between contexts of one model and one capacity")
        checked, xp = self.engine.checked, self.engine.backend.xp
        source, target = (checked.asarray(np.array(places)) for places in (rows, at))

        def moved(old: Array, new: Array) -> Array:
            return self.engine.ops.put_rows(old, xp.take(new, source, axis=0), target)

        moved = checked.guarded("copying rows", moved)
        layers = [
            (moved(k, new_k), moved(v, new_v))
            for (k, v), (new_k, new_v) in zip(self.cache.layers, other.cache.layers, strict=True)
        ]
        self.cache = self.cache._replace(layers=layers)
        lengths = [other.lengths[row] for row in rows]  # all before the first is changed: `other` may be this context
        for length, place in zip(lengths, at, strict=True):
            self.lengths[place] = length
        return self

    def truncate(self, row: int, length: int) -> None:
        """Forget what `row` read after its first `length` ids."""
        if not 0 <= length <= self.lengths[row]:
            raise InputError(f"row {row} holds {self.lengths[row]} ids; it cannot be cut to {length}")
        self.lengths[row] = length

    def reset(self, row: int) -> None:
        """Forget everything `row` read."""
        self.truncate(row, 0)

    def _check(self, rows: Sequence[Sequence[int]]) -> list[list[int]]:
        if len(rows) != len(self.lengths):
            raise InputError(f"{len(rows)} rows were given to a context of {len(self.lengths)}")
        ids = [check_ids(row, self.engine.config.n_vocab) if len(row) else [] for row in rows]
        if not any(ids):
            raise InputError("no ids: pass at least one id or some text")
        for row, length in zip(ids, self.lengths, strict=True):
            check_context(length + len(row), self.capacity)
        return ids

    def _advance(
        self, rows: list[list[int]], only: np.ndarray | None, draw: Draw | None, plan: Plan | None,
        tap: Tap | None = None,
    ) -> Any:  # fmt: skip
        """Run one step, and move the lengths on once it has succeeded."""
        engine, checked = self.engine, self.engine.checked
        longest = max(map(len, rows))
        padded = np.zeros((len(rows), checked.bucket(longest, self.capacity)), dtype=np.int64)
        for row, ids in enumerate(rows):
            padded[row, : len(ids)] = ids
        cache = self.cache._replace(length=checked.asarray(np.array(self.lengths)))
        places = None if only is None else checked.asarray(only)
        step = engine.step(plan, tap or untouched)
        with engine.turn, enough_memory(f"a step of {len(rows)} rows of {longest} ids"):
            result, self.cache = step(engine.params, cache, checked.asarray(padded), places, draw)
        self.lengths = [length + len(ids) for length, ids in zip(self.lengths, rows, strict=True)]
        return result
