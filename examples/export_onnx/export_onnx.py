"""Write a model as an ONNX file: the graph itself, run on ndonnx arrays, which record instead of compute.

    pip install ndonnx onnxruntime
    python examples/export_onnx/export_onnx.py src/arrayformer/models/fable fable.onnx --length 32

The file takes `ids` [length] int64 and gives `logits` [length, n_vocab] float32. The length is fixed: shorter
texts are padded at the end, which changes nothing before it.
"""

import argparse
from pathlib import Path
from typing import Any

import ndonnx
import numpy as np

from arrayformer.core.architecture import Architecture
from arrayformer.core.checkpoint import read_checkpoint
from arrayformer.core.decoder import forward
from arrayformer.core.params import Params, map_params


def export(config: Architecture, params: Params, length: int) -> Any:
    """The ONNX model that reads `length` ids."""
    ids = ndonnx.argument(shape=(length,), dtype=ndonnx.int64)
    weights = map_params(lambda x: ndonnx.asarray(np.asarray(x, dtype=np.float32)), params)
    logits = forward(config, weights, ids)[0]
    return ndonnx.build({"ids": ids}, {"logits": logits})


def difference(config: Architecture, params: Params, model: bytes, ids: list[int]) -> float:
    """How far onnxruntime's logits are from NumPy's in float64, in units of the logits' spread."""
    import onnxruntime

    exact = map_params(lambda x: np.asarray(x, dtype=np.float64), params)
    expected = forward(config, exact, np.asarray(ids))[0]
    (logits,) = onnxruntime.InferenceSession(model).run(None, {"ids": np.asarray(ids)})
    return float(np.max(np.abs(logits - expected)) / np.std(expected))


def main() -> None:
    """Export, run what was exported, and compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path, help="a directory with a checkpoint")
    parser.add_argument("out", type=Path, help="the file to write")
    parser.add_argument("--length", type=int, default=32, help="ids it reads")
    said = parser.parse_args()
    config, params = read_checkpoint(said.model)
    model = export(config, params, said.length).SerializeToString()
    said.out.write_bytes(model)
    ids = np.random.default_rng(0).integers(0, config.n_vocab, said.length).tolist()
    print(f"{said.out}: {len(model):,} bytes; off by {difference(config, params, model, ids):.1e} of the spread")


if __name__ == "__main__":
    main()
