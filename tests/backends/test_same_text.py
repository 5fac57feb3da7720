"""The same seed gives the same text on every backend that is installed, built in or an example in this repository."""

from pathlib import Path

import pytest

from arrayformer.api import Model
from arrayformer.backends.registry import get_backend
from arrayformer.core.engine import Engine

from . import reading
from .conftest import Install

EXAMPLES = Path(__file__).parents[2] / "examples"
PLUGINS = {
    "array_api_strict": ("array_api_strict", "my_backend", "arrayformer_array_api_strict"),
    "torch": ("torch", "torch_backend", "arrayformer_torch"),
    "mlx": ("mlx.core", "mlx_backend", "arrayformer_mlx"),
    "dask": ("dask.array", "dask_backend", "arrayformer_dask"),
    "dpnp": ("dpnp", "dpnp_backend", "arrayformer_dpnp"),
}
"""backend -> library, folder under examples/, module"""


def written(backend: str) -> list[int]:
    """What a model with flat logits writes after two prompts in one batch."""
    model = Model(reading.CONFIG, Engine(reading.CONFIG, reading.PARAMS, get_backend(backend)))
    texts = model.generate([[1, 2, 3], [4]], max_new_tokens=12, seed=1, temperature=0.8, top_k=40)
    return [i for text in texts for i in text.ids]


@pytest.mark.parametrize("backend", ["jax", *PLUGINS])
def test_the_same_seed_writes_the_same_text(install: Install, backend: str) -> None:
    library, folder, module = PLUGINS.get(backend, (backend, "", ""))
    pytest.importorskip(library)
    if folder:
        source = (EXAMPLES / folder / f"{module}.py").read_text()
        install(source, name=backend, distribution=f"arrayformer-{backend}", module=module)

    ids = written(backend)

    assert ids == written("numpy")
    assert len(set(ids)) > 6
