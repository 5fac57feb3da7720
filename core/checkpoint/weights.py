"""Tensors of a file as NumPy arrays, and the nested params made of them."""

import math
import os
import warnings
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from arrayformer.core.architecture import Architecture, Source
from arrayformer.core.checkpoint.crc32c import crc32c, masked
from arrayformer.core.checkpoint.safetensors_file import Entry
from arrayformer.core.errors import ModelFileError
from arrayformer.core.files.untrusted import ModelFile, shown
from arrayformer.core.params import Order, Params, Weight, map_paths, walk

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


def row_major(weight: Weight) -> Literal["C", "F"]:
    """Every weight row by row."""
    return "C"


Progress = Callable[[int, int], None]
"""progress(done, total), in numbers of the weights, after each weight."""


def unseen(done: int, total: int) -> None:
    """Progress that nobody looks at."""


@dataclass(frozen=True)
class Reading:
    """How weights are read.

    allow_nonfinite  whether they may hold NaN or infinity
    ignore_extra     whether tensors that are no part of the model are no error, only a warning
    order            in which order of memory a weight is wanted (`Backend.order`)
    packed           whether matrices of the formats in `packing.FROM_GGUF` stay packed (`Backend.multiplies_packed`)
    progress         is told how far it has come
    """

    allow_nonfinite: bool = False
    ignore_extra: bool = False
    order: Order = row_major
    progress: Progress = unseen
    packed: bool = False


@dataclass(frozen=True)
class Located:
    """A weight's tensor, and how the two differ."""

    tensor: Stored
    source: Source
    weight: Weight

    @property
    def rows(self) -> tuple[int, int]:
        """Which rows of the tensor are this weight's."""
        return self.source.part or (0, self.tensor.entry.shape[0])


def check_tensors(
    model: Architecture, named: Mapping[str, Stored], source_of: Callable[[str], Source], where: object,
    ignore_extra: bool = False, dtypes: Container[str] = _BITS,
) -> dict[str, Located]:  # fmt: skip
    """The tensors by path in the params, where they are what `model` needs: no more, no less, in shape and dtype.

    named         the tensors by their names in the file
    source_of     where a weight lies, from its path: "blocks.0.ln_1.g"
    where         what the message of the ModelFileError begins with
    ignore_extra  whether more is no error, only a warning
    dtypes        those that can be read
    """
    weights = {path: (source_of(path), weight) for path, weight in walk(model.weights())}
    need = _shapes_in_file(weights.values())
    if missing := [name for name in need if name not in named]:
        raise ModelFileError(f"{where}: the weights lack {_listed(missing)}")
    if extra := [name for name in named if name not in need]:
        message = f"{where}: the weights hold what is no part of this model: {_listed(extra)}"
        if not ignore_extra:
            raise ModelFileError(f"{message}; --ignore-extra leaves them out")
        warnings.warn(f"{message}, left out", stacklevel=2)
    for name, shape in need.items():
        entry = named[name].entry
        if entry.shape != shape:
            raise ModelFileError(
                f"{named[name].where}: the file has shape {list(entry.shape)}, the config asks for {list(shape)}"
            )
        if entry.dtype not in dtypes:
            raise ModelFileError(f"{named[name].where}: dtype {entry.dtype} is not one of {', '.join(_BITS)}")
    return {path: Located(named[source.name], source, weight) for path, (source, weight) in weights.items()}


def _shapes_in_file(weights: Iterable[tuple[Source, Weight]]) -> dict[str, tuple[int, ...]]:
    """Each tensor's name with the shape it has in the file; one that holds several weights is as long as all."""
    shapes: dict[str, tuple[int, ...]] = {}
    for source, weight in weights:
        shape = weight.shape[::-1] if source.transposed else weight.shape
        rows = source.part[1] if source.part else shape[0]
        shapes[source.name] = (max(rows, shapes.get(source.name, (0,))[0]), *shape[1:])
    return shapes


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return f"{len(names)} tensor{'s' if len(names) > 1 else ''}: {', '.join(map(shown, names[:10]))}{more}"


def load_params(model: Architecture, located: Mapping[str, Located], reading: Reading) -> Params:
    """Reads the weights of `model` from their places, each into the order of memory that is asked for.

    float32 stays, float16 stays where all weights have it, bfloat16 becomes float32 (exactly: NumPy has no bfloat16).
    Raises ModelFileError for values that are not finite, naming the first, unless they are allowed; and for more than
    this machine's memory holds.
    """
    dtypes = {x.tensor.entry.dtype for x in located.values()}
    where = located["wte"].tensor.file.path
    if len(dtypes) > 1:
        warnings.warn(f"{where}: weights of {', '.join(sorted(dtypes))}; all become float32", stacklevel=2)
    wide = dtypes != {"F16"}
    check_memory(sum(math.prod(x.weight.shape) for x in located.values()) * (4 if wide else 2), where)

    params = read_each(model, located, lambda place: _read_weight(place, wide, reading), reading.progress)
    matrices = (x for path, x in walk(params) if not path.endswith((".g", ".b")))
    if not any(_has_value(x) for x in matrices):
        warnings.warn(f"{where}: every weight is zero", stacklevel=2)
    for file in {x.tensor.file for x in located.values()}:
        file.check_unchanged()
    return params


def read_each(
    model: Architecture, located: Mapping[str, Located], read: Callable[[Located], Any], progress: Progress
) -> Params:
    """What `read` makes of each weight's place, nested as the weights of `model` are."""
    done, total = 0, sum(math.prod(place.weight.shape) for place in located.values())

    def leaf(path: str, weight: Weight) -> Any:
        nonlocal done
        x = read(located[path])
        done += math.prod(weight.shape)
        progress(done, total)
        return x

    params: Params = map_paths(leaf, model.weights())
    return params


def _read_weight(located: Located, wide: bool, reading: Reading) -> np.ndarray:
    """One weight as the graph wants it."""
    source, order = located.source, reading.order(located.weight)
    if order == "K":
        order = "C"
    elif source.transposed:  # [n_out, n_in] row by row is [n_in, n_out] column by column: nothing is copied for it
        order = "C" if order == "F" else "F"
    x = read_tensor(located.tensor, wide or source.add != 0.0, reading.allow_nonfinite, order, located.rows)
    if source.add:
        x += x.dtype.type(source.add)
    if source.view:
        inner = tuple(range(len(source.view), len(source.view) + x.ndim - 1))
        x = x.reshape(source.view + x.shape[1:]).transpose(source.axes + inner).reshape(x.shape)
    return x.T if source.transposed else x


def check_memory(needed: int, where: object) -> None:
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
    tensor: Stored, wide: bool = True, allow_nonfinite: bool = False, order: Literal["C", "F"] = "C",
    rows: tuple[int, int] | None = None,
) -> np.ndarray:  # fmt: skip
    """The values of one tensor, or of some of its rows: float32, or float16 where it is stored so and not `wide`.

    Memory is taken once, for the result: the file is read into it, or a chunk at a time where the values are widened
    or a matrix is wanted column by column.
    """
    entry, begin = tensor.entry, 0 if rows is None else rows[0]
    shape = entry.shape if rows is None else (rows[1] - rows[0], *entry.shape[1:])
    integers, mask = _BITS[entry.dtype]
    stored_as = "<f2" if entry.dtype == "F16" else "<f4"
    out = np.empty(shape, "<f4" if wide else stored_as, order)
    lines = out if order == "F" and out.ndim == 2 else out.reshape(-1, 1)
    direct = lines is not out and (entry.dtype == "F32" or out.dtype == "<f2")
    step = max(1, CHUNK // (lines.shape[1] * np.dtype(integers).itemsize))
    bits = lines.view(integers) if direct else np.empty((min(len(lines), step), lines.shape[1]), integers)
    before = begin * math.prod(entry.shape[1:])  # numbers in front of the first row
    for start in range(0, len(lines), step):
        stop = min(start + step, len(lines))
        part = bits[start:stop] if direct else bits[: stop - start]
        first = before + start * lines.shape[1]
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
