"""Matrices of a GGUF file in 8 or 4 bits stay packed where the backend multiplies them so."""

from pathlib import Path

import numpy as np
import pytest
from tests.core.checkpoint.gguf_bytes import Entry
from tests.core.checkpoint.test_gguf import WIDE, WIDE_SHAPES, file, values, write

from arrayformer.core.checkpoint import read_checkpoint
from arrayformer.core.errors import ModelFileError
from arrayformer.core.packed import Packed, dequantized
from arrayformer.core.params import Weight, walk

MATRICES = {"token_embd.weight": (50, 32), "blk.0.attn_q.weight": (8, 32), "blk.0.ffn_up.weight": (6, 32)}


def packed_file(tmp_path: Path, name: str, spoilt: bool = False) -> Path:
    gguf = pytest.importorskip("gguf")
    kind = getattr(gguf.GGMLQuantizationType, name)
    extra = []
    for tensor, shape in MATRICES.items():
        blocks = gguf.quantize(values(tensor, shape), kind)
        if spoilt:
            blocks.view("<f2").reshape(-1)[0] = np.nan
        extra.append(Entry(tensor, shape[::-1], int(kind), blocks.tobytes()))
    return write(tmp_path, file(WIDE, WIDE_SHAPES | dict.fromkeys(MATRICES, ...), extra))


@pytest.mark.parametrize("name", ["Q8_0", "Q4_0", "Q4_1"])
def test_packed_matrices_stand_for_what_is_read_without(tmp_path: Path, name: str) -> None:
    path = packed_file(tmp_path, name)
    model, params = read_checkpoint(path, packed=True)
    plain, roles = dict(walk(read_checkpoint(path)[1])), dict(walk(model.weights()))

    kept = {weight: x for weight, x in walk(params) if isinstance(x, Packed)}

    assert kept.keys() == {"wte", "blocks.0.attn.q_proj.w", "blocks.0.mlp.up_proj.w"}
    for weight, x in kept.items():
        numbers = dequantized(x) if roles[weight].role == "table" else dequantized(x).T
        np.testing.assert_array_equal(numbers, plain[weight], err_msg=weight)


def test_other_formats_are_widened(tmp_path: Path) -> None:
    _, params = read_checkpoint(packed_file(tmp_path, "Q5_0"), packed=True)

    assert {type(x) for _, x in walk(params)} == {np.ndarray}


def test_a_scale_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="not finite"):
        read_checkpoint(packed_file(tmp_path, "Q8_0", spoilt=True), packed=True)


def test_weights_may_stay_in_the_order_of_the_file(tmp_path: Path) -> None:
    def as_stored(_: Weight) -> str:
        return "K"

    path = write(tmp_path, file())
    _, params = read_checkpoint(path, order=as_stored)  # type: ignore[arg-type]

    for (name, x), (_, plain) in zip(walk(params), walk(read_checkpoint(path)[1]), strict=True):
        assert x.flags[f"{'F' if name.endswith('.w') else 'C'}_CONTIGUOUS"], name
        np.testing.assert_array_equal(x, plain)
