"""Where each array lies on a mesh of JAX devices. How they talk to each other is left to XLA."""

import math
import os
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from arrayformer.core import ops
from arrayformer.core.array_api import Array
from arrayformer.core.errors import BackendError
from arrayformer.core.params import Weight

AXES = ("data", "model")

# Which axis of a weight is spread over `model`, by its role and number of axes: columns of what opens half a block,
# rows of what closes it, so that between the two each device keeps its part (https://arxiv.org/abs/1909.08053
# section 3). A table over its ids, or where their number does not divide, over the width.
SPREAD: dict[tuple[str, int], tuple[int, ...]] = {
    ("column", 2): (1,), ("column", 1): (0,), ("row", 2): (0,), ("table", 2): (0, 1),
}  # fmt: skip


def read_mesh(mesh: str | Mesh) -> Mesh:
    """`"data=4,model=2"` as a mesh of the first eight devices, of all processes together.

    In a run of several processes JAX is told so first: by the caller with `jax.distributed.initialize`, or here
    where JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID are set.
    Raises BackendError for axes that are not there and for more devices than there are.
    """
    join_processes()
    if isinstance(mesh, Mesh):
        names, devices = mesh.axis_names, mesh.devices
    else:
        sizes = read_sizes(mesh)
        wanted, there = math.prod(sizes.values()), jax.devices()
        if wanted > len(there):
            raise BackendError(f"backend 'jax': the mesh {mesh!r} needs {wanted} devices; there are {len(there)}")
        names, devices = tuple(sizes), np.array(there[:wanted]).reshape(tuple(sizes.values()))
    if unknown := set(names) - set(AXES):
        raise BackendError(f"backend 'jax': a mesh has no axis {min(unknown)!r}; its axes are data and model")
    return Mesh(devices, names)  # anew: axes of a mesh from jax.make_mesh are not XLA's to partition


def read_sizes(text: str) -> dict[str, int]:
    """`"data=4,model=2"` -> {"data": 4, "model": 2}"""
    sizes = {}
    for part in text.split(","):
        axis, _, size = (p.strip() for p in part.partition("="))
        if axis not in AXES or axis in sizes or not size.isdecimal() or int(size) < 1:
            raise BackendError(f"backend 'jax': {text!r} is no mesh; write data=4,model=2, each axis at most once")
        sizes[axis] = int(size)
    return sizes


def join_processes() -> None:
    """Tell JAX of the other processes, once, where the environment names them."""
    names = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
    given = [os.environ.get(n) for n in names]
    if jax.distributed.is_initialized() or not all(given):
        return
    address, count, place = (str(g) for g in given)
    jax.distributed.initialize(address, int(count), int(place))


class MeshLayout:
    """Which part of an array each device of a mesh holds."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.replicated = NamedSharding(mesh, PartitionSpec())

    def spread(self, shape: tuple[int, ...], axes: dict[int, str]) -> NamedSharding:
        """Spread the given axes of an array, as far as the mesh has them and their sizes divide."""
        spec: list[str | None] = [None] * len(shape)
        for place, axis in axes.items():
            if shape[place] % self.mesh.shape.get(axis, 1) == 0 and axis in self.mesh.shape:
                spec[place] = axis
        return NamedSharding(self.mesh, PartitionSpec(*spec))

    def cache(self, shape: tuple[int, ...]) -> NamedSharding:
        """[batch, kv_head, capacity, head_dim]: rows over `data`, heads over `model`."""
        return self.spread(shape, {0: "data", 1: "model"})

    def weight(self, weight: Weight) -> NamedSharding:
        """The first of the weight's axes in SPREAD whose size divides. Heads that do not divide stay whole."""
        size = self.mesh.shape.get("model", 1)
        axes = SPREAD.get((weight.role, len(weight.shape)), ()) if weight.heads % size in (0, 1 % size) else ()
        fits = [a for a in axes if weight.shape[a] % size == 0]
        return self.spread(weight.shape, {fits[0]: "model"} if fits else {})

    def put(self, host: np.ndarray, weight: Weight | None) -> Array:
        """A weight or an input (None) on the mesh. Each process brings its own devices' part."""
        if weight is not None:
            where = self.weight(weight)
        else:
            where = self.spread(host.shape, {0: "data"} if host.ndim == 2 else {})
        return jax.make_array_from_callback(host.shape, where, lambda part: host[part])

    def gather(self, x: Array) -> Any:
        """The whole of `x`, in each process."""
        if isinstance(x, jax.Array) and not x.is_fully_addressable:
            return multihost_utils.process_allgather(x, tiled=True)
        return x

    def write(self, old: Array, new: Array, position: Array) -> Array:
        """`ops.write`: its steps go place by place, so no device needs another; the cache stays spread as it is."""
        return jax.lax.with_sharding_constraint(ops.write(old, new, position), self.cache(old.shape))
