"""OpenAI's directories, without TensorFlow: a fixture TensorFlow wrote, and tables that lie."""

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from arrayformer.core.checkpoint import read_checkpoint
from arrayformer.core.checkpoint.bundle import read_bundle
from arrayformer.core.checkpoint.crc32c import crc32c, masked
from arrayformer.core.checkpoint.openai import openai_source
from arrayformer.core.errors import InputError, ModelFileError
from arrayformer.core.files.untrusted import open_inside
from arrayformer.core.models.gpt2 import gpt2
from arrayformer.core.params import walk
from arrayformer.seed import load_encoder_hparams_and_params

FIXTURE = Path(__file__).parents[2] / "fixtures" / "openai_tiny"
INDEX, DATA = "model.ckpt.index", "model.ckpt.data-00000-of-00001"


@pytest.fixture(scope="module")
def written() -> Any:
    """What TensorFlow was given to write."""
    spec = importlib.util.spec_from_file_location("make_openai_tiny", FIXTURE / "make.py")
    assert spec is not None
    assert spec.loader is not None
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    return make.weights()


@pytest.fixture
def model(tmp_path: Path) -> Any:
    return shutil.copytree(FIXTURE, tmp_path / "124M")


def test_what_tensorflow_wrote_is_read_exactly(written: Any) -> None:
    config, params = read_checkpoint(FIXTURE)

    assert (config.n_vocab, config.n_ctx, config.n_embd, config.n_head, config.n_layer) == (259, 16, 8, 2, 2)
    leaves = list(walk(params))
    assert len(leaves) == len(written)
    for path, x in leaves:
        assert x.dtype == np.float32
        np.testing.assert_array_equal(x, written[openai_source(path).name].reshape(x.shape), err_msg=path)


def test_encoder_sizes_and_weights_come_as_from_picogpt(model: Path) -> None:
    encoder, hparams, params = load_encoder_hparams_and_params("124M", str(model.parent))

    ids = encoder.encode("the cat")
    assert hparams == json.loads((FIXTURE / "hparams.json").read_text())
    assert encoder.decode(ids) == "the cat"
    assert gpt2(ids, **params, n_head=hparams["n_head"]).shape == (len(ids), 259)


def test_another_size_is_refused() -> None:
    with pytest.raises(InputError, match=r"'1\.5B' is not one of 124M, 355M, 774M, 1558M"):
        load_encoder_hparams_and_params("1.5B", "models")


def test_a_checkpoint_of_another_name_is_found(model: Path) -> None:
    for name in (INDEX, DATA):
        (model / name).rename(model / name.replace("model.ckpt", "model-1000"))
    (model / "checkpoint").write_text('model_checkpoint_path: "model-1000"\n')

    assert read_checkpoint(model)[0].n_layer == 2


@pytest.mark.parametrize("stem", ["../124M/model.ckpt", "/etc/passwd", "a/b", "", "..", "a\\nb"])
def test_a_checkpoint_file_that_names_another_place_is_refused(model: Path, stem: Any) -> None:
    (model / "checkpoint").write_text(f'model_checkpoint_path: "{stem}"\n')

    with pytest.raises(ModelFileError, match="checkpoint: names no file of this directory"):
        read_checkpoint(model)


@pytest.mark.parametrize("name", [INDEX, DATA, "hparams.json"])
def test_a_missing_file_is_named(model: Path, name: str) -> None:
    (model / name).unlink()

    with pytest.raises(ModelFileError, match=f"{name}: cannot be opened|neither config.json nor hparams.json"):
        read_checkpoint(model)


def test_a_flipped_bit_in_the_weights_is_found_by_the_crc(model: Path) -> None:
    content = bytearray((model / DATA).read_bytes())
    content[5000] ^= 1
    (model / DATA).write_bytes(content)

    with pytest.raises(ModelFileError, match=f"{DATA}: tensor 'model/.*does not fit its CRC"):
        read_checkpoint(model)


def test_weights_cut_short_are_refused_with_both_sizes(model: Path) -> None:
    size = (model / DATA).stat().st_size
    (model / DATA).write_bytes((model / DATA).read_bytes()[: size - 4])

    with pytest.raises(ModelFileError, match=rf"ends at byte {size}, the file at {size - 4}"):
        read_checkpoint(model)


# A writer of the index, as simple as can be: no shared prefixes, one restart.


def varint(n: Any) -> Any:
    return bytes([n & 0x7F | 0x80]) + varint(n >> 7) if n > 0x7F else bytes([n])


def block(pairs: Any, kind: Any = 0, restarts: Any = 1, shared: int = 0) -> Any:
    entries = b"".join(varint(shared) + varint(len(k)) + varint(len(v)) + k + v for k, v in pairs)
    content = entries + bytes(4) + restarts.to_bytes(4, "little") + bytes([kind])
    return content + masked(crc32c(np.frombuffer(content, np.uint8))).to_bytes(4, "little")


def index_file(*blocks: Any, magic: Any = 0xDB4775248B80FB57, shift: Any = 0) -> Any:
    """Data blocks, an empty meta block, the block of handles and the footer."""
    content, handles = b"", []
    for data in (*blocks, block([])):
        handles.append(varint(len(content) + shift) + varint(len(data) - 5))
        content += data
    top = block([(b"z" * (i + 1), handle) for i, handle in enumerate(handles[:-1])])
    footer = handles[-1] + varint(len(content)) + varint(len(top) - 5)
    return content + top + footer.ljust(40, b"\0") + magic.to_bytes(8, "little")


def field(number: int, value: Any) -> Any:
    return (
        (varint(number << 3) + varint(value))
        if isinstance(value, int)
        else varint(number << 3 | 2) + varint(len(value)) + value
    )


def shape(*sizes: Any) -> Any:
    return field(2, b"".join(field(2, field(1, size)) for size in sizes))


def entry(*sizes: Any, dtype: Any = 1, offset: Any = 0, size: int | None = None, more: Any = b"") -> Any:
    count = int(np.prod(sizes)) * 4 if size is None else size
    return field(1, dtype) + shape(*sizes) + field(4, offset) + field(5, count) + more


HEADER = (b"", field(1, 1))


def test_tables_of_several_blocks_are_read(tmp_path: Path) -> None:
    (tmp_path / "i").write_bytes(index_file(block([HEADER, (b"a", entry(2, 3))]), block([(b"b", entry(4, offset=24))])))

    with open_inside(tmp_path, "i") as file:
        found = read_bundle(file)

    assert {name: (e.entry.shape, e.entry.offset, e.entry.size) for name, e in found.items()} == {
        "a": ((2, 3), 0, 24),
        "b": ((4,), 24, 16),
    }


BAD = {
    "P-03 empty": (b"", "0 bytes"),
    "P-03 cut short": (index_file(block([HEADER]))[:-1], "does not end as a TensorFlow index ends"),
    "P-03 another file": (b"x" * 100, "does not end as a TensorFlow index ends"),
    "P-03 another magic": (index_file(block([HEADER]), magic=1), "does not end as a TensorFlow index ends"),
    "P-03 too long": (b"x" * ((4 << 20) + 1), "4194305 bytes"),
    "P-03 block beyond the file": (index_file(block([HEADER]), shift=10**6), "beyond the file's"),
    "P-03 block at 2**63": (index_file(block([HEADER]), shift=2**63), "beyond the file's"),
    "P-03 compressed": (index_file(block([HEADER], kind=1)), "is compressed"),
    "P-03 CRC": (index_file(block([HEADER])[:-1] + b"?"), "does not fit its CRC"),
    "P-03 restarts": (index_file(block([HEADER], restarts=10**6)), "1000000 restarts do not fit"),
    "P-03 no header": (index_file(block([(b"a", entry(1))])), "has no header"),
    "P-03 two data files": (index_file(block([(b"", field(1, 2))])), "2 data files"),
    "P-03 big-endian": (index_file(block([(b"", field(1, 1) + field(2, 1))])), "big-endian"),
    "P-03 out of order": (index_file(block([HEADER, (b"b", entry(1)), (b"a", entry(1))])), "'a' out of order"),
    "P-03 twice": (index_file(block([HEADER, (b"a", entry(1)), (b"a", entry(1))])), "'a' out of order"),
    "P-03 long name": (index_file(block([HEADER, (b"a" * 5000, entry(1))])), "a name of 0 \\+ 5000 bytes"),
    "P-03 shares more than there is": (index_file(block([HEADER], shared=3)), "a name of 3 \\+ 0 bytes after one of 0"),
    "P-03 slices": (index_file(block([HEADER, (b"a", entry(1, more=field(7, b"")))])), "'a' in slices"),
    "P-03 size": (index_file(block([HEADER, (b"a", entry(3, size=4))])), r"'a' of shape \[3\] and 4 bytes"),
    "P-03 huge shape": (index_file(block([HEADER, (b"a", entry(1 << 62, 1 << 62, size=4))])), "which do not fit"),
    "P-03 varint": (index_file(block([HEADER, (b"a", b"\x08" + b"\xff" * 11)])), "more than 64 bits"),
    "P-03 field cut short": (index_file(block([HEADER, (b"a", b"\x12\x7f")])), "127 bytes announced, 0 are left"),
    "P-03 field type": (index_file(block([HEADER, (b"a", b"\x0b")])), "unknown type 3"),
    "P-03 shared bytes": (
        index_file(block([HEADER, (b"a", entry(9, 8)), (b"b", entry(9, 8))])),
        "tensor 'b' at byte 0 shares bytes with 'a', which ends at byte 288",
    ),
    "P-03 one in another": (
        index_file(block([HEADER, (b"a", entry(9, 8)), (b"b", entry(1, 8, offset=64))])), "byte 64 shares bytes",
    ),
    "P-03 a byte shared": (
        index_file(block([HEADER, (b"a", entry(2, offset=7)), (b"b", entry(2))])), "byte 7 shares bytes with 'b'",
    ),
    "P-03 too many": (
        index_file(block([HEADER, *((b"%06d" % i, b"") for i in range(10_002))])), "more than 10000 tensors",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD)
def test_a_bad_index_is_refused_naming_the_place(model: Path, content: bytes, message: str) -> None:
    (model / INDEX).write_bytes(content)

    with pytest.raises(ModelFileError, match=message) as raised:
        read_checkpoint(model)

    assert str(model / INDEX) in str(raised.value)
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ([(b"model/wte", entry(259, 8))], r"lack 27 tensors: model/wpe"),
        ([(b"model/wte", entry(259, 8, offset=10**9))], f"{DATA}: tensor 'model/wte' ends at byte 1000008288"),
        ([(b"model/wte", entry(259, 8, offset=2**63))], "ends at byte"),
    ],
)
def test_an_index_that_does_not_fit_the_model_is_refused(model: Path, tensors: Any, message: str) -> None:
    (model / INDEX).write_bytes(index_file(block([HEADER, *tensors])))

    with pytest.raises(ModelFileError, match=message):
        read_checkpoint(model)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(st.tuples(st.integers(0, 10**4), st.integers(1, 255)), min_size=1, max_size=3),
    cut=st.integers(0, 30),
)
def test_a_damaged_index_is_refused_or_read_as_before(tmp_path: Path, changes: Any, cut: Any) -> None:
    sound = (FIXTURE / INDEX).read_bytes()
    damaged = bytearray(sound)
    for place, flip in changes:
        damaged[place % len(sound)] ^= flip
    (tmp_path / "sound").write_bytes(sound)
    (tmp_path / "damaged").write_bytes(damaged[: len(damaged) - cut if cut < 10 else None])

    with open_inside(tmp_path, "sound") as file:
        wanted = read_bundle(file)
    try:
        with open_inside(tmp_path, "damaged") as file:
            found = read_bundle(file)
    except ModelFileError:
        return

    assert found == wanted
