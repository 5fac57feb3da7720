"""A script that shows a fault on the array library alone: saved inputs, the functions involved, what was expected.

It quotes the graph's own functions, and imports the library, NumPy, and at most the backend's own function where that
is at fault.
"""

import builtins
import inspect
import io
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

import numpy as np

from arrayformer.conformance.criterion.metrics import tensor_error
from arrayformer.conformance.diagnosis.recorded import Step, step_of
from arrayformer.conformance.run.subject import Subject
from arrayformer.core.files.atomic import write_whole

if TYPE_CHECKING:
    from arrayformer.conformance.diagnosis.first_wrong import Divergence

_GIVEN = {"array_namespace", "device", "Array", "Tap", "InputError"}


def write_script(found: "Divergence", folder: Path, subject: Subject) -> list[str]:
    """Write `reproduce.py` and `inputs.npz` into `folder`. Returns their paths; none for a tap that has no script."""
    from arrayformer.conformance.diagnosis.first_wrong import MODES

    step = step_of(subject.models.reference(found.probe), found.ids, found.tap) if found.mode in MODES else None
    if step is None:
        return []
    inputs = [x.astype(np.float32) if x.dtype.kind == "f" else x for x in step.inputs]
    expected = value_of(step, [x.astype(np.float64) if x.dtype.kind == "f" else x for x in inputs])
    honest = tensor_error(np.asarray(value_of(step, inputs)), expected).size
    folder.mkdir(parents=True, exist_ok=True)
    archive = io.BytesIO()
    np.savez(archive, expected=expected, **{f"a{i}": x for i, x in enumerate(inputs)})
    write_whole(folder / "inputs.npz", archive.getvalue())
    text = SCRIPT.format(
        title=f"{found.tap} of probe {found.probe}: {step.expression}", sentence=textwrap.fill(found.sentence, 110),
        library=subject.backend.library, imports=f"import {getattr(subject.backend.xp, '__name__', 'numpy')} as xp",
        quoted="\n\n".join(quoted(step.functions)), own=own_function(found, subject, step),
        expression=step.expression, inside=step.inside, tap=found.tap, limit=found.limit * max(honest, 2.0**-22),
    )  # fmt: skip
    write_whole(folder / "reproduce.py", text)
    return [str(folder / "reproduce.py"), str(folder / "inputs.npz")]


def value_of(step: Step, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """What a step gives on NumPy."""
    kept: dict[str, Any] = {}

    def keep(name: str, x: Any) -> Any:
        kept[name] = np.array(x)
        return x

    names = {function.__name__: function for function in step.functions}
    copies = [x.copy() for x in inputs]
    value = eval(step.expression, {**names, "a": copies, "keep": keep, "np": np})
    return np.asarray(kept[step.inside] if step.inside else value)


def quoted(functions: Sequence[Callable[..., Any]]) -> list[str]:
    """The sources of functions and of what they call, what is called first."""
    found: dict[str, str] = {}
    for function in functions:
        _quote(function, found)
    return list(found.values())


def _quote(function: Any, found: dict[str, str]) -> None:
    if function.__name__ in found:
        return
    found[function.__name__] = ""  # so that a circle ends
    own = {name: function.__globals__[name] for name in _names(function.__code__) if name in function.__globals__}
    for name, value in own.items():
        if isinstance(value, FunctionType) and name not in _GIVEN:
            _quote(value, found)
        elif isinstance(value, int | float | tuple):
            found[name] = f"{name} = {value!r}\n"
    del found[function.__name__]
    found[function.__name__] = inspect.getsource(function)


def _names(code: CodeType) -> Iterator[str]:
    yield from (name for name in code.co_names if not hasattr(builtins, name))
    yield from ("untouched",) if code.co_name in ("attention", "causal_attention") else ()
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)


def own_function(found: "Divergence", subject: Subject, step: Step) -> str:
    """Where the call is of one of the backend's own functions that is at fault: lines that put it in the place."""
    if not found.override or found.override != step.call:
        return ""
    function = subject.backend.overrides[found.override]
    said = f"{found.override} = {{}}  # the backend's own function"
    module, name = getattr(function, "__module__", ""), getattr(function, "__qualname__", "")
    if name.isidentifier() and getattr(sys.modules.get(module), name, None) is function:
        return f"from {module} import {name} as {found.override}  # the backend's own function"
    kind = type(subject.backend)
    if subject.spec is not None and ":" in subject.spec.name:
        module, _, name = subject.spec.name.partition(":")
        return f"from {module} import {name} as Backend\n\n{said.format(f'Backend().overrides[{found.override!r}]')}"
    if hasattr(sys.modules.get(kind.__module__), kind.__name__):
        line = f"from {kind.__module__} import {kind.__name__} as Backend"
        return f"{line}\n\n{said.format(f'Backend().overrides[{found.override!r}]')}"
    return f"# The backend's own `{found.override}` is at fault, and cannot be imported: this shows the library alone."


SCRIPT = '''"""{title}

{sentence}

Needs {library} and NumPy. Prints what the library computes and ends with 1 where that is wrong.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
{imports}

InputError = ValueError


def array_namespace(x):
    return xp


def device(x):
    return getattr(x, "device", None)


{quoted}

{own}
kept = {{}}


def keep(name, x):
    kept[name] = np.array(x)
    return x


saved = np.load(Path(__file__).parent / "inputs.npz")
a = [xp.asarray(saved[f"a{{i}}"]) for i in range(len(saved.files) - 1)]
got = {expression}
got = np.asarray(kept[{inside!r}] if {inside!r} else got).astype(np.float64)
expected = saved["expected"]

size = math.sqrt(float(np.mean(expected**2))) or 1.0
error = np.abs(got - expected) / size
worst = np.unravel_index(int(np.argmax(np.where(np.isnan(error), np.inf, error))), error.shape)
print("{tap}: largest error", error[worst], "of the tensor's size, at", [int(i) for i in worst])
print("got", got[worst], "expected", expected[worst])
sys.exit(0 if error[worst] <= {limit!r} else 1)
'''
