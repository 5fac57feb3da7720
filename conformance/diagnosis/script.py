"""A script that shows a fault on the array library alone: saved inputs, a few lines, what was expected.

It imports the library, NumPy, and, where one of the backend's own functions is at fault, that function. One that
cannot be imported (it is made inside another) is quoted; the script then shows that the library alone is right.
"""

import inspect
import io
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from arrayformer.conformance.criterion.oracle import Taps
from arrayformer.conformance.criterion.probes import probe
from arrayformer.conformance.run.subject import Subject
from arrayformer.core.files.atomic import write_whole
from arrayformer.core.models.gpt2 import GPT2

if TYPE_CHECKING:
    from arrayformer.conformance.diagnosis.first_wrong import Divergence

# The end of a tap's name -> the function of the graph, the taps or weights it reads, and one line without a backend.
STEPS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "embed": ("embed", ("ids", "wte", "wpe"), "take(wte, ids) + wpe"),
    "ln_1": ("layer_norm", ("before", "ln_1.g", "ln_1.b"), "layer_norm(before, g, b)"),
    "ln_2": ("layer_norm", ("mid", "ln_2.g", "ln_2.b"), "layer_norm(before, g, b)"),
    "ln_f": ("layer_norm", ("before", "ln_f.g", "ln_f.b"), "layer_norm(before, g, b)"),
    "qkv": ("linear", ("ln_1", "attn.c_attn.w", "attn.c_attn.b"), "before @ w + b"),
    "scores": ("scores", ("attn.qkv",), "q * scale @ k.T"),
    "probs": ("probs", ("attn.scores",), "softmax(where(mask, scores, -inf))"),
    "out": ("out", ("attn.probs", "attn.qkv"), "probs @ v"),
    "attn.proj": ("linear", ("attn.out", "attn.c_proj.w", "attn.c_proj.b"), "before @ w + b"),
    "mid": ("add", ("before", "attn.proj"), "before + projected"),
    "fc": ("linear", ("ln_2", "mlp.c_fc.w", "mlp.c_fc.b"), "before @ w + b"),
    "act": ("activation", ("mlp.fc",), "activation(before)"),
    "mlp.proj": ("linear", ("mlp.act", "mlp.c_proj.w", "mlp.c_proj.b"), "before @ w + b"),
    "end": ("add", ("mid", "mlp.proj"), "before + projected"),
    "logits": ("unembed", ("ln_f", "wte"), "before @ wte.T"),
}

_BODIES = {
    "embed": "take(xp, a[1], a[0]) + a[2][: a[0].shape[-1], :]",
    "layer_norm": "layer_norm(xp, a[0], a[1], a[2])",
    "linear": "a[0] @ a[1] + a[2]",
    "unembed": "a[0] @ transpose(xp, a[1])",
    "add": "a[0] + a[1]",
    "attention": "softmax(xp, xp.where(xp.asarray(saved['mask']), (a[0] * SCALE) @ transpose(xp, a[1]), -math.inf))"
    " @ a[2]",
    "scores": "(a[0] * SCALE) @ transpose(xp, a[1])",
    "probs": "softmax(xp, xp.where(a[1], a[0], xp.asarray(-math.inf, dtype=a[0].dtype)))",
    "out": "merge(a[0] @ a[1])",
    "gelu": "0.5 * a[0] * (1.0 + xp.tanh(0.7978845608028654 * (a[0] + 0.044715 * (a[0] * a[0] * a[0]))))",
    "gelu_erf": "a[0] * 1.0  # the error function is not in the standard: the library's own belongs here",
    "relu": "xp.where(a[0] > 0, a[0], a[0] * 0)",
    "silu": "a[0] / (1.0 + xp.exp(-a[0]))",
}

FUNCTIONS = {"attention": "causal_attention"}  # what the graph calls for a kind of step, where the names differ

_HELPERS = """
def transpose(xp, x):
    return x.mT if hasattr(x, "mT") else xp.matrix_transpose(x)


def take(xp, table, ids):
    return xp.reshape(xp.take(table, xp.reshape(ids, (-1,)), axis=0), (*ids.shape, table.shape[-1]))


def softmax(xp, x):
    exps = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
    return exps / xp.sum(exps, axis=-1, keepdims=True)


def layer_norm(xp, x, g, b):
    centred = x - xp.mean(x, axis=-1, keepdims=True)
    return centred / xp.sqrt(xp.mean(centred * centred, axis=-1, keepdims=True) + EPS) * g + b


def merge(x):
    return x
"""


def write_script(found: "Divergence", folder: Path, subject: Subject) -> list[str]:
    """Write `reproduce.py` and `inputs.npz` into `folder`. Returns their paths; none for a tap that has no script."""
    from arrayformer.conformance.diagnosis.first_wrong import MODES

    step = next((value for end, value in STEPS.items() if found.tap == end or found.tap.endswith("." + end)), None)
    # Of GPT-2 alone, and of what shows without a cache: other graphs have other steps.
    if step is None or type(probe(found.probe).config) is not GPT2 or found.mode not in MODES:
        return []
    kind, inputs, formula = step
    if found.override == "causal_attention" and kind in ("scores", "probs", "out"):
        kind, inputs, formula = "attention", ("attn.qkv",), "causal attention"
    arrays, expected = saved(found, subject, kind, inputs)
    folder.mkdir(parents=True, exist_ok=True)
    config: Any = probe(found.probe).config
    named: dict[str, Any] = {f"a{i}": a for i, a in enumerate(arrays)}
    mask = np.tril(np.ones((len(found.ids),) * 2, dtype=bool))
    archive = io.BytesIO()
    np.savez(archive, expected=expected, mask=mask, **named)
    write_whole(folder / "inputs.npz", archive.getvalue())
    body = _BODIES[activation(found.probe) if kind == "activation" else kind]
    own, call = own_function(found, subject, kind, len(arrays))
    layer = int(found.tap.split(".")[1]) if found.tap.startswith("h.") else 0
    text = SCRIPT.format(
        title=f"{found.tap} of probe {found.probe}: {formula}", sentence=textwrap.fill(found.sentence, 110),
        imports=library_import(subject), helpers=_HELPERS, own=own, body=call or body, eps=config.layer_norm_epsilon,
        scale=config.scale(layer), limit=max(1e-6, found.limit * unit_of(found)), tap=found.tap,
        library=subject.backend.library,
    )  # fmt: skip
    write_whole(folder / "reproduce.py", text)
    return [str(folder / "reproduce.py"), str(folder / "inputs.npz")]


def unit_of(found: "Divergence") -> float:
    """The honest error behind the ratio, relative to the tensor's size."""
    return 2.0**-22 if not np.isfinite(found.ratio) else max(2.0**-22, 2.0**-22 * min(found.ratio, 1.0))


def activation(name: str) -> str:
    """Which activation a probe has."""
    from arrayformer.core.ops import ACTIVATIONS

    config: Any = probe(name).config
    return ACTIVATIONS[config.activation_function]


def saved(
    found: "Divergence", subject: Subject, kind: str, inputs: Sequence[str]
) -> tuple[list[np.ndarray], np.ndarray]:
    """What the step reads and what it has to give, from the float64 oracle rounded to float32."""
    ref = subject.models.reference(found.probe)
    taps = Taps()
    ref.exact([found.ids], taps)
    seen = taps.seen
    scope = ".".join(found.tap.split(".")[:2]) if found.tap.startswith("h.") else ""
    layer = int(scope.split(".")[1]) if scope else 0

    def value(name: str) -> np.ndarray:
        if name == "ids":
            return np.array([found.ids])
        if name == "before":
            last = layer if scope else ref.config.n_layer
            return np.asarray(seen["embed"] if last == 0 else seen[f"h.{last - 1}.end"])
        if f"{scope}.{name}" in seen:
            return np.asarray(seen[f"{scope}.{name}"])
        if name in seen:
            return np.asarray(seen[name])
        params: Any = ref.params32
        if name == "wte" and kind == "unembed":
            return np.asarray(params.get("lm_head", params["wte"]))
        for part in (["blocks", layer] if scope else []) + name.split("."):
            params = params[part]
        return np.asarray(params)

    arrays = heads([value(name) for name in inputs], kind, ref.config.n_head)
    expected = np.asarray(seen[f"{scope}.attn.out" if kind == "attention" else found.tap])
    if kind in ("out", "attention"):
        expected = np.moveaxis(expected.reshape(*expected.shape[:-1], ref.config.n_head, -1), -2, -3)
    return [a.astype(np.float32) if a.dtype.kind == "f" else a for a in arrays], expected


def heads(arrays: list[np.ndarray], kind: str, n_head: int) -> list[np.ndarray]:
    """What the steps inside attention read, split as they read it."""

    def part(qkv: np.ndarray, i: int) -> np.ndarray:
        n = qkv.shape[-1] // 3
        x = qkv[..., i * n : (i + 1) * n]
        return np.moveaxis(x.reshape(*x.shape[:-1], n_head, -1), -2, -3)

    if kind == "attention":
        count = np.arange(arrays[0].shape[-2])
        return [*(part(arrays[0], i) for i in range(3)), count, count]
    if kind == "scores":
        return [part(arrays[0], 0), part(arrays[0], 1)]
    if kind == "out":
        return [arrays[0], part(arrays[1], 2)]
    if kind == "probs":
        return [arrays[0], np.tril(np.ones(arrays[0].shape[-2:], dtype=bool))]
    return arrays


def library_import(subject: Subject) -> str:
    """The line that imports the namespace."""
    name = getattr(subject.backend.xp, "__name__", "numpy")
    return f"import {name} as xp"


def own_function(found: "Divergence", subject: Subject, kind: str, n: int) -> tuple[str, str]:
    """Where one of the backend's own functions is at fault: its import and the call, or what can be said of it."""
    function = subject.backend.overrides.get(found.override) if found.override else None
    if function is None or found.override != (
        activation(found.probe) if kind == "activation" else FUNCTIONS.get(kind, kind)
    ):
        return "", ""
    function = getattr(function, "func", function)  # of a functools.partial
    module, name = getattr(function, "__module__", ""), getattr(function, "__qualname__", "")
    if module and name.isidentifier() and name != "<lambda>" and hasattr(sys.modules.get(module), name):
        args = [f"a[{i}]" for i in range(n)]
        call = f"own({', '.join(args)}" + (", scale=SCALE)" if kind == "attention" else ")")
        places = "xp.asarray(np.arange(a[0].shape[-1])[None])"
        call = f"own(a[1], a[0]) + own(a[2], {places})" if kind == "embed" else call
        return f"from {module} import {name} as own  # the backend's own function", call
    try:
        source = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        source = f"{module}.{name}"
    return f"# The backend's own `{found.override}` is at fault, not the library:\n" + textwrap.indent(
        source, "#     "
    ), ""


SCRIPT = '''"""{title}

{sentence}

Needs {library} and NumPy. Prints what the library computes and ends with 1 where that is wrong.
"""

import math
import sys
from pathlib import Path

import numpy as np
{imports}

EPS, SCALE = {eps!r}, {scale!r}
{helpers}

{own}
saved = np.load(Path(__file__).parent / "inputs.npz")
a = [xp.asarray(saved[f"a{{i}}"]) for i in range(len(saved.files) - 2)]
got = np.asarray({body}).astype(np.float64)
expected = saved["expected"]

size = math.sqrt(float(np.mean(expected**2))) or 1.0
error = np.abs(got - expected) / size
worst = np.unravel_index(int(np.argmax(np.where(np.isnan(error), np.inf, error))), error.shape)
print("{tap}: largest error", error[worst], "of the tensor's size, at", [int(i) for i in worst])
print("got", got[worst], "expected", expected[worst])
sys.exit(0 if error[worst] <= {limit!r} else 1)
'''
