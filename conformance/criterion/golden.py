"""What the default model says, computed once in float64 and kept: the same on every machine.

python -m arrayformer.conformance.criterion.golden     writes conformance/criterion/golden/fable.json anew
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from arrayformer.conformance.criterion.probes import DEFAULT, Probe
from arrayformer.conformance.run.result import NotApplicable
from arrayformer.core.files import strict_json
from arrayformer.core.params import Params, map_params

TEXTS = (
    "Once upon a time there was a king who had three daughters,",
    "The",
    '"Where are you going?" said the fox. "To the sea," said the little mermaid, "and you may not come with me."',
    "def f(x):\n    return x + 1\n",
    "Füchse, 狐狸 und \U0001f98a gehen durch den Wald.",
    "In the forest, in the forest, in the forest, in the forest, in the forest,",
    "1 2 3 4 5 6 7 8 9 10 11 12",
    "She opened the door of the cottage, and there stood an old woman with a lantern in her hand. " * 4,
)
N_GREEDY, N_SAMPLED, N_KEPT = 40, 40, 8
SAMPLING = {"temperature": 1.0, "top_k": 40, "top_p": 0.9, "seed": 7}


@dataclass(frozen=True)
class DefaultModel(Probe):
    """The model in the package, as a probe: its rows are the golden texts."""

    def params(self) -> Params:
        """The weights, float32 whatever the file has."""
        from arrayformer.core.checkpoint import read_checkpoint

        params: Params = map_params(lambda x: x.astype(np.float32), read_checkpoint(directory())[1])
        return params

    def rows(self, order: int = 0) -> list[list[int]]:
        """The ids of the golden texts."""
        return [list(text["ids"]) for text in values()["texts"]]


def directory() -> Path:
    """Where the default model lies. NotApplicable where the package came without one."""
    path = Path(str(files("arrayformer"))) / "models" / "fable"
    if not (path / "model.safetensors").is_file():
        raise NotApplicable("this installation has no default model")
    return path


@cache
def values() -> dict[str, Any]:
    """What the oracle says of this model: kept, or computed here where the kept values belong to other weights."""
    try:
        return kept()
    except NotApplicable:
        directory()
        return compute()


def kept() -> dict[str, Any]:
    """The kept values. NotApplicable where they belong to other weights."""
    found: dict[str, Any] = json.loads(kept_file().read_text(encoding="utf-8"))
    if found["model_sha256"] != model_hash():
        raise NotApplicable(
            "the kept values belong to another model.safetensors: "
            "python -m arrayformer.conformance.criterion.golden makes new ones"
        )
    return found


def kept_file() -> Path:
    """Where the values are kept."""
    return Path(str(files("arrayformer.conformance.criterion"))) / "golden" / "fable.json"


def model_hash() -> str:
    """SHA-256 of the default model's weights."""
    return hashlib.sha256((directory() / "model.safetensors").read_bytes()).hexdigest()


def name() -> str:
    """The default model's name among the probes. NotApplicable where the package came without one."""
    directory()
    return DEFAULT


def default_model() -> DefaultModel:
    """The default model as a probe."""
    from arrayformer.core.checkpoint import read_checkpoint

    return DefaultModel(DEFAULT, read_checkpoint(directory())[0])


def compute() -> dict[str, Any]:
    """The values, in float64."""
    from arrayformer.backends.numpy.backend import NumpyBackend
    from arrayformer.conformance.criterion.metrics import spread
    from arrayformer.core.checkpoint import read_checkpoint
    from arrayformer.core.engine import Engine
    from arrayformer.core.generate.loop import generate
    from arrayformer.core.generate.options import Ending, Sampling
    from arrayformer.core.generate.text import Text
    from arrayformer.tokenizer import load_tokenizer

    config, params = read_checkpoint(directory())
    tokenizer = load_tokenizer(directory())
    engine = Engine(config, params, NumpyBackend(dtype="float64"))

    def continued(ids: list[int], sampling: Sampling, n: int) -> list[int]:
        text = Text(ids, sampling, Ending(max_new_tokens=n, ignore_eos=True), config.n_ctx)
        list(generate(engine, [text]))
        return text.new_ids

    texts = []
    for text in TEXTS:
        ids = tokenizer.encode(text)
        greedy = continued(ids, Sampling(), N_GREEDY)
        logits = engine.logits(ids + greedy[:-1])
        places = sorted({0, len(ids) // 2, len(ids) - 1})
        chosen = [[int(v) for v in np.argsort(-logits[t], kind="stable")[:N_KEPT]] for t in places]
        following = logits[len(ids) - 1 :]
        top = np.sort(following, axis=-1)[:, -2:]
        texts.append({
            "text": text, "ids": ids, "places": places, "chosen": chosen,
            "logits": [[float(logits[t, v]) for v in row] for t, row in zip(places, chosen, strict=True)],
            "greedy": greedy,
            "margins": [round(float(m), 6) for m in (top[:, 1] - top[:, 0]) / spread(following)[:, 0]],
            "sampled": continued(ids, Sampling(**SAMPLING), N_SAMPLED),  # type: ignore[arg-type]
        })  # fmt: skip
    return {"model_sha256": model_hash(), "sampling": SAMPLING, "texts": texts}


if __name__ == "__main__":
    kept_file().parent.mkdir(exist_ok=True)
    kept_file().write_text(strict_json.dumps(compute(), indent=1) + "\n", encoding="utf-8")
    print(f"wrote {kept_file()}")
