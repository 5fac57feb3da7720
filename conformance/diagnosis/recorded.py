"""Which call of the graph's functions makes a tensor: the oracle run again with a table that writes its calls down."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from arrayformer.conformance.criterion.oracle import Reference
from arrayformer.core import ops
from arrayformer.core.ops import OPS


@dataclass
class Call:
    """One call: the name of the function, its arguments as they were, what came out."""

    name: str
    args: tuple[Any, ...]
    how: dict[str, Any]
    result: Any = None


@dataclass
class Step:
    """How a tensor is made: an expression in `a` (saved inputs) and functions of `core/ops.py`.

    inside  the tap inside the call that shows the tensor, for scores and probabilities
    """

    expression: str
    inputs: list[Any]
    functions: list[Callable[..., Any]]
    call: str = ""
    inside: str = ""


@dataclass
class _Recorder:
    wanted: str
    calls: list[Call] = field(default_factory=list)
    active: list[Call] = field(default_factory=list)
    taps: list[Any] = field(default_factory=list)
    since: int = 0
    step: Step | None = None

    def table(self) -> dict[str, Callable[..., Any]]:
        return {name: self._noted(name) for name in OPS}

    def _noted(self, name: str) -> Callable[..., Any]:
        function = getattr(ops, name)

        def noted(*args: Any, **how: Any) -> Any:
            kept = tuple(np.array(a) if isinstance(a, np.ndarray) else a for a in args)
            call = Call(name, kept, {k: v for k, v in how.items() if k not in ("tap", "upcast")})
            self.active.append(call)
            call.result = function(*args, **how)
            self.active.pop()
            if not self.active:
                self.calls.append(call)
            return call.result

        noted.__name__ = name
        return noted

    def __call__(self, tap: str, x: Any) -> Any:
        if tap == self.wanted:
            self.step = self._made(tap, x)
        if not self.active:
            self.taps.append(x)
            self.since = len(self.calls)
        return x

    def _made(self, tap: str, x: Any) -> Step | None:
        if self.active:
            return _called(self.active[-1], tap.rpartition(".")[2])
        fresh = self.calls[self.since :][::-1]
        for call in fresh:
            if call.result is x:
                return _called(call)
            if call.name == "causal_attention" and np.array_equal(ops.merge_heads(call.result), x):
                step = _called(call)
                return Step(
                    f"merge_heads({step.expression})", step.inputs, [*step.functions, ops.merge_heads], call.name
                )
        for call in fresh:
            if call.result.shape == x.shape and np.allclose(call.result * (x.flat[0] / call.result.flat[0]), x):
                step = _called(call)
                return Step(f"{step.expression} * {x.flat[0] / call.result.flat[0]!r}", *_rest(step))
        return _sum(x, fresh, self.taps)


def _rest(step: Step) -> tuple[list[Any], list[Callable[..., Any]], str]:
    return step.inputs, step.functions, step.call


def _sum(x: Any, fresh: Sequence[Call], taps: Sequence[Any]) -> Step | None:
    for i, one in enumerate(fresh):
        for other in fresh[i + 1 :]:
            if np.shape(one.result + other.result) == x.shape and np.array_equal(one.result + other.result, x):
                left, right = _called(other), _called(one)
                n = len(left.inputs)
                moved = right.expression
                for k in range(len(right.inputs) - 1, -1, -1):
                    moved = moved.replace(f"a[{k}]", f"a[{k + n}]")
                functions = [*left.functions, *right.functions]
                return Step(f"{left.expression} + {moved}", [*left.inputs, *right.inputs], functions, one.name)
    for one in taps[::-1]:
        for other in taps:
            if one.shape == other.shape == x.shape and np.array_equal(one + other, x):
                return Step("a[0] + a[1]", [other, one], [])
    return None


def _called(call: Call, inside: str = "") -> Step:
    inputs: list[Any] = []
    words, functions = list[str](), [getattr(ops, call.name)]
    for value in (*call.args, *call.how.items()):
        key, value = value if isinstance(value, tuple) else ("", value)
        if isinstance(value, np.ndarray):
            word = f"a[{len(inputs)}]"
            inputs.append(value)
        elif callable(value):
            word = value.__name__
            functions.append(getattr(ops, word))
        else:
            word = repr(value)
        words.append(f"{key}={word}" if key else word)
    words += ["tap=keep"] if inside else []
    return Step(f"{call.name}({', '.join(words)})", inputs, functions, call.name, inside)


def step_of(ref: Reference, ids: Sequence[int], tap: str) -> Step | None:
    """How the tensor at `tap` is made, or None where that is no call and no sum."""
    recorder = _Recorder(tap)
    ref.exact([list(ids)], recorder, recorder.table())
    return recorder.step
