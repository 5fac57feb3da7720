"""What a run must remember to go on exactly where it stopped, in one file."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arrayformer.core.errors import InputError
from arrayformer.core.params import Params, map_paths, walk

FILE = "checkpoint.npz"


@dataclass
class Progress:
    """Where a run stands.

    step        updates made
    tokens      ids read
    seconds     time spent training
    n_layer     blocks there are now
    window      the longest window read so far
    began       step at which this stage (a new depth) began
    decay_from  step from which the learning rate falls, once that is known
    """

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    n_layer: int = 0
    window: int = 0
    began: int = 0
    decay_from: int | None = None


def save(out: Path, progress: Progress, params: Params, state: Any) -> None:
    """Written beside the old one and then moved into its place: a cut leaves the old one whole."""
    arrays = {f"params.{path}": np.asarray(x) for path, x in walk(params)}
    arrays |= {f"state.{i}": np.asarray(x) for i, x in enumerate(jax.tree.leaves(state))}
    arrays["progress"] = np.array(json.dumps(asdict(progress)))
    part = out / f"{FILE}.part"
    with part.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # the stub takes `allow_pickle` for one of the arrays
    os.replace(part, out / FILE)


def read_progress(out: Path) -> Progress:
    """Where the run in `out` stands. Raises FileNotFoundError where there is none."""
    with np.load(out / FILE) as file:
        return Progress(**json.loads(str(file["progress"])))


def restore(out: Path, params: Params, state: Any) -> tuple[Params, Any]:
    """The arrays in the checkpoint, nested as `params` and `state` are. Raises InputError where the shapes differ."""
    with np.load(out / FILE) as file:

        def read(name: str, like: Any) -> jax.Array:
            if file[name].shape != like.shape:
                raise InputError(f"{name}: the checkpoint has {file[name].shape}, the options ask for {like.shape}")
            return jnp.asarray(file[name])

        weights: Params = map_paths(lambda path, x: read(f"params.{path}", x), params)
        leaves, nesting = jax.tree.flatten(state)
        return weights, jax.tree.unflatten(nesting, [read(f"state.{i}", x) for i, x in enumerate(leaves)])
