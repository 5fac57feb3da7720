"""Probe models on the backend under test. Weights, engines and programs are made once and shared by the cases."""

from collections.abc import Callable
from typing import Any

import numpy as np

from arrayformer.conformance.criterion.oracle import Reference, reference
from arrayformer.conformance.criterion.probes import probe
from arrayformer.core import ops
from arrayformer.core.backend import Backend
from arrayformer.core.decoder import forward
from arrayformer.core.engine import Engine


class Models:
    """The probes on one backend."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._engines: dict[str, Engine] = {}
        self._forwards: dict[Any, Callable[..., Any]] = {}
        self._placed: dict[str, Any] = {}

    def reference(self, name: str) -> Reference:
        """The oracle for a probe, in this backend's dtype and class."""
        return reference(name, self.backend.dtype, self.backend.precision)

    def engine(self, name: str) -> Engine:
        """A probe on the backend, as a user would run it; shared."""
        if name not in self._engines:
            self._engines[name] = self.new_engine(name)
        return self._engines[name]

    def new_engine(self, name: str, backend: Backend | None = None) -> Engine:
        """A probe on the backend, not shared."""
        return Engine(probe(name).config, probe(name).params(), backend or self.backend)

    def forward(
        self, name: str, ids: Any, *, params: Any = None, compiled: bool = True, overrides: bool = True,
        tap: ops.Tap = ops.untouched,
    ) -> Any:  # fmt: skip
        """Logits of the graph without a cache, on the device.

        ids        [batch, seq] or [seq]
        params     weights on the device in the place of the probe's own
        compiled   through `Backend.compile`, as far as nobody taps
        overrides  with the backend's own functions

        Models of one size share a program: each costs a compilation.
        """
        if params is None:
            if name not in self._placed:
                self._placed[name] = self.backend.place(probe(name).params(), probe(name).config.weights())
            params = self._placed[name]
        whole = self.graph(name, overrides=overrides, tap=tap)
        if compiled and tap is ops.untouched:
            kind = (probe(name).config, overrides)
            if kind not in self._forwards:
                self._forwards[kind] = self.backend.compile(whole)
            whole = self._forwards[kind]
        return whole(params, self.backend.asarray(np.asarray(ids, dtype=np.int64)))

    def graph(self, name: str, *, overrides: bool = True, tap: ops.Tap = ops.untouched) -> Callable[..., Any]:
        """(weights on the device, ids) -> logits, for a model of the sizes of a probe."""
        config = probe(name).config
        table = ops.PLAIN.replaced(self.backend.overrides if overrides else {})

        def whole(params: Any, ids: Any) -> Any:
            return forward(config, params, ids, ops=table, tap=tap)[0]

        return whole
