"""Tensors of a file as NumPy arrays, and the nested params made of them."""

import math
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from arrayformer.core.checkpoint.crc32c import crc32c, masked
from arrayformer.core.checkpoint.safetensors_file import Entry
from arrayformer.core.errors import ModelFileError
from arrayformer.core.files.untrusted import ModelFile, shown
from arrayformer.core.models.gpt2 import GPT2Config
from arrayformer.core.params import Order, Params, map_params, shapes, walk

# Per dtype: the file's integers of that width, and the bits that are all set in an infinity or a NaN.
_BITS = {"F32": ("<u4", 0x7F800000), "F16": ("<u2", 0x7C00), "BF16": ("<u2", 0x7F80)}

# Bytes read and looked at in one go, so that the second finds them in the processor's cache.
CHUNK = 1 << 20


@dataclass(frozen=True)
class Stored:
    """One tensor in an open file, under the name it has there.

    crc  TensorFlow's masked CRC-32C of its bytes, where the form has one
    """

    name: str
    file: ModelFile
    entry: Entry
    crc: int | None = None

    @property
    def where(self) -> str:
        """What an error message begins with."""
        return f"{self.file.path}: tensor {shown(self.name)!r}"


def check_tensors(
    config: GPT2Config, named: Mapping[str, Stored], name_of: Callable[[str], str], where: object,
    ignore_extra: bool = False,
) -> dict[str, Stored]:  # fmt: skip
    """The tensors by path in the params, where they are what `config` needs: no more, no less, in shape and dtype.

    named         the tensors by their names in the file
    name_of       such a name from a path: "blocks.0.ln_1.g" -> "h.0.ln_1.weight"
    where         what the message of the ModelFileError begins with
    ignore_extra  whether more is no error, only a warning
    """
    need = {name_of(path): (path, shape) for path, shape in walk(shapes(config))}
    if missing := [name for name in need if name not in named]:
        raise ModelFileError(f"{where}: the weights lack {_listed(missing)}")
    if extra := [name for name in named if name not in need]:
        message = f"{where}: the weights hold what is no part of this GPT-2: {_listed(extra)}"
        if not ignore_extra:
            raise ModelFileError(f"{message}; --ignore-extra leaves them out")
        warnings.warn(f"{message}, left out", stacklevel=2)
    for name, (_, shape) in need.items():
        entry = named[name].entry
        if entry.shape != shape:
            raise ModelFileError(
                f"{named[name].where}: the file has shape {list(entry.shape)}, the config asks for {list(shape)}"
            )
        if entry.dtype not in _BITS:
            raise ModelFileError(f"{named[name].where}: dtype {entry.dtype} is not one of {', '.join(_BITS)}")
    return {path: named[name] for name, (path, _) in need.items()}


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return f"{len(names)} tensor{'s' if len(names) > 1 else ''}: {', '.join(map(shown, names[:10]))}{more}"


def row_major(path: str, shape: tuple[int, ...]) -> Literal["C", "F"]:
    """The order in which files hold every weight."""
    return "C"


def load_params(
    config: GPT2Config, stored: Mapping[str, Stored], allow_nonfinite: bool = False,
    order: Order = row_major,
) -> Params:  # fmt: skip
    """Reads the weights of `config` from their places, each into the order of memory that `order` asks for.

    float32 stays, float16 stays where all weights have it, bfloat16 becomes float32 (exactly: NumPy has no bfloat16).
    Raises ModelFileError for values that are not finite, naming the first, unless `allow_nonfinite`; and for more than
    this machine's memory holds.
    """
    dtypes = {tensor.entry.dtype for tensor in stored.values()}
    where = stored["wte"].file.path
    if len(dtypes) > 1:
        warnings.warn(f"{where}: weights of {', '.join(sorted(dtypes))}; all become float32", stacklevel=2)
    wide = dtypes != {"F16"}
    _check_memory(sum(math.prod(tensor.entry.shape) for tensor in stored.values()) * (4 if wide else 2), where)

    def read(path: str, shape: tuple[int, ...]) -> np.ndarray:
        return read_tensor(stored[path], wide, allow_nonfinite, order(path, shape)).reshape(shape)

    params: Params = map_params(read, shapes(config))
    if not any(_has_value(x) for path, x in walk(params) if not path.endswith((".g", ".b"))):
        warnings.warn(f"{where}: every weight is zero", stacklevel=2)
    for file in {tensor.file for tensor in stored.values()}:
        file.check_unchanged()
    return params


def _check_memory(needed: int, where: object) -> None:
    """A sparse file takes no room on the disk, and the system promises memory it has not: filling it would end us."""
    try:
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows refuses by itself what it has not
        return
    if needed > there:
        raise ModelFileError(
            f"{where}: the weights need {needed / 1e9:.1f} GB, this machine has {there / 1e9:.1f} GB of memory"
        )


def _has_value(x: np.ndarray) -> bool:
    flat = x.ravel(order="K")
    return bool(flat[:4096].any() or flat.any())


def read_tensor(
    tensor: Stored, wide: bool = True, allow_nonfinite: bool = False, order: Literal["C", "F"] = "C"
) -> np.ndarray:
    """The values of one tensor, float32; float16 where it is stored so and not `wide`.

    Memory is taken once, for the result: the file is read into it, or a chunk at a time where the values are widened
    or a matrix is wanted column by column.
    """
    entry = tensor.entry
    integers, mask = _BITS[entry.dtype]
    stored_as = "<f2" if entry.dtype == "F16" else "<f4"
    out = np.empty(entry.shape, "<f4" if wide else stored_as, order)
    lines = out if order == "F" else out.reshape(-1, 1)
    direct = order == "C" and (entry.dtype == "F32" or out.dtype == "<f2")
    step = max(1, CHUNK // (lines.shape[1] * np.dtype(integers).itemsize))
    bits = lines.view(integers) if direct else np.empty((min(len(lines), step), lines.shape[1]), integers)
    for start in range(0, len(lines), step):
        stop = min(start + step, len(lines))
        part = bits[start:stop] if direct else bits[: stop - start]
        first = start * lines.shape[1]
        tensor.file.read_into(entry.offset + first * part.itemsize, part.reshape(-1).view(np.uint8).data)
        if not allow_nonfinite:
            _check_finite(tensor, part, mask, first)
        if entry.dtype == "BF16":
            np.left_shift(part, 16, out=lines[start:stop].view("<u4"), dtype="<u4")
        elif not direct:
            lines[start:stop] = part.view(stored_as)
    if tensor.crc is not None and masked(crc32c(np.ascontiguousarray(out).view(np.uint8).reshape(-1))) != tensor.crc:
        raise ModelFileError(f"{tensor.where}: does not fit its CRC; the file is damaged, fetch it again")
    return out.astype(out.dtype.newbyteorder("="), copy=False)


def _check_finite(tensor: Stored, bits: np.ndarray, mask: int, start: int) -> None:
    exponents = bits & bits.dtype.type(mask)
    if exponents.max() == mask:
        place = np.unravel_index(start + int(np.argmax(exponents == mask)), tensor.entry.shape)
        index = ", ".join(str(int(i)) for i in place)
        raise ModelFileError(
            f"{tensor.where}: the value at [{index}] is not finite (NaN or infinity); "
            "--allow-nonfinite loads it as it is"
        )
