"""The backend under test, and arrays on it."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from arrayformer.conformance.run.models import Models
from arrayformer.conformance.run.result import NotApplicable
from arrayformer.conformance.run.spec import BackendSpec
from arrayformer.core import ops
from arrayformer.core.backend import Backend

Host = np.ndarray


class Subject:
    """One backend under test, shared by the cases.

    make    factory of the backend: make(device=None, dtype=None)
    spec    where it came from, where that can be said
    models  the probes on it
    """

    def __init__(self, make: Callable[..., Backend], spec: BackendSpec | None = None) -> None:
        self.make = make
        self.spec = spec

    @classmethod
    def of(cls, spec: BackendSpec) -> "Subject":
        """The backend of that name."""
        return cls(spec.make, spec)

    @cached_property
    def backend(self) -> Backend:
        """The backend, made once."""
        return self.make()

    @cached_property
    def models(self) -> Models:
        """The probes on it."""
        return Models(self.backend)

    @property
    def result_dtype(self) -> str:
        """What logits have: float64 for a float64 model, float32 for every other."""
        return "float64" if self.backend.dtype == "float64" else "float32"

    def in_dtype(self, dtype: str) -> "Subject":
        """The same backend in another dtype. NotApplicable where it has none."""
        if dtype not in self.backend.dtypes:
            raise NotApplicable(f"the backend does not offer {dtype}")
        if dtype == self.backend.dtype:
            return self
        return Subject(lambda **options: self.make(**{"device": self.backend.device, "dtype": dtype, **options}))

    def put(self, host: Any, dtype: str | None = None) -> Any:
        """A host array on the device; floats in float32 unless said otherwise."""
        array = np.asarray(host)
        if dtype is None and array.dtype.kind == "f":
            array, dtype = array.astype(np.float32), "float32"
        if array.dtype.kind == "b":
            dtype = "bool"
        return self.backend.asarray(array, dtype)

    def get(self, x: Any) -> Host:
        """A device array on the host."""
        return self.backend.to_numpy(x)

    def function(self, name: str) -> Callable[..., Any]:
        """The function of that name which the graph uses on this backend."""
        function: Callable[..., Any] = self.backend.overrides.get(name) or getattr(ops, name)
        return function

    def call(self, function: Callable[..., Any], *args: Any) -> dict[str, Any]:
        """What `function` gives: {"as written": ...}, or {"compiled": ...} where the backend compiles."""
        if self.backend.compiles:
            return {"compiled": self.backend.compile(function)(*args)}
        return {"as written": function(*args)}
