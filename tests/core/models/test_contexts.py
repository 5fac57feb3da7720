"""What holds for every architecture: a cache, pieces, a batch and padding change nothing, and a seed is a text."""

import numpy as np
import pytest
from tests.backends.conftest import install, site
from tests.backends.test_same_text import EXAMPLES, PLUGINS

from arrayformer.api import Model
from arrayformer.backends.numpy.backend import NumpyBackend
from arrayformer.backends.registry import get_backend
from arrayformer.conformance.criterion.metrics import divergence
from arrayformer.core.decoder import forward
from arrayformer.core.engine import Engine
from arrayformer.core.models.registry import find_model, list_models
from arrayformer.core.params import map_params, random_params

__all__ = ["install", "site"]

PAGES = sorted({find_model(info.name) for info in list_models() if info.builtin}, key=lambda page: page.__name__)
PROBES = {name: probe for page in PAGES for name, probe in page.probes().items()}
LIMIT = 1e-12  # in float64


def drawn(name, n):
    """The probe, weights of which each matters, and `n` ids, or as many as fit."""
    model = PROBES[name]
    ids = np.random.default_rng(7).integers(0, model.n_vocab, min(n, model.n_ctx)).tolist()
    return model, random_params(model.weights(), seed=2, gain=0.3), ids


def wide_engine(name, n):
    """The probe on NumPy in float64, ids, and their logits as the graph as it is written gives them."""
    model, params, ids = drawn(name, n)
    params = map_params(np.float64, params)
    return Engine(model, params, NumpyBackend(dtype="float64")), ids, forward(model, params, np.array(ids))[0]


def test_every_page_has_probes_whose_names_are_its_own():
    assert all(page.probes() for page in PAGES)
    assert len(PROBES) == sum(len(page.probes()) for page in PAGES)


@pytest.mark.parametrize("name", PROBES)
def test_ids_read_one_by_one_and_in_pieces_are_those_read_at_once(name):
    engine, ids, truth = wide_engine(name, 40)
    pieces, single = engine.context(1, len(ids)), engine.context(1, len(ids))

    by_pieces = [pieces.read([ids[i : i + 7]], every=True)[0] for i in range(0, len(ids), 7)]
    one_by_one = [single.read([[id]])[0] for id in ids]

    assert divergence(np.concatenate(by_pieces), truth).size <= LIMIT
    assert divergence(np.array(one_by_one), truth).size <= LIMIT


@pytest.mark.parametrize("name", PROBES)
def test_a_row_in_a_ragged_batch_is_the_row_alone_and_padding_changes_nothing(name):
    engine, ids, truth = wide_engine(name, 24)
    batch, half = engine.context(3, len(ids)), len(ids) // 2

    first = batch.read([ids[:half], ids[:1], []], every=True)
    second = batch.read([ids[half:], ids[1:], ids], every=True)

    # In the first row and the last what stands behind a shorter row is padding.
    assert divergence(np.concatenate([first[0, :half], second[0, : len(ids) - half]]), truth).size <= LIMIT
    assert divergence(np.concatenate([first[1, :1], second[1, : len(ids) - 1]]), truth).size <= LIMIT
    assert divergence(second[2], truth).size <= LIMIT


@pytest.mark.parametrize("name", PROBES)
def test_padding_past_the_end_of_the_context_changes_nothing(name):
    engine, ids, truth = wide_engine(name, 12)
    context = engine.context(2, len(ids))
    context.read([ids[:-1], []])

    logits = context.read([ids[-1:], ids])  # the first row is padded beyond its capacity

    assert divergence(logits, truth[[-1, -1]]).size <= LIMIT


FEW = ["llama-2", "gemma3", "olmo2", "neox"]
CASES = [(name, backend) for name in PROBES for backend in ("array_api_strict", "torch")]
CASES += [(name, "jax") for name in FEW]  # each costs seconds of compilation


def written(name, backend):
    """What the probe writes after two prompts in one batch."""
    config, params, _ = drawn(name, 1)
    model = Model(config, Engine(config, params, get_backend(backend)))
    n = min(12, config.n_ctx - 3)
    spread = float(np.std(forward(config, params, np.array([1, 2, 3]))[0]))  # so that several ids are likely
    texts = model.generate([[1, 2, 3], [4]], max_new_tokens=n, seed=1, temperature=spread, top_k=20)
    return [id for text in texts for id in text.ids]


@pytest.mark.parametrize(("name", "backend"), CASES)
def test_the_same_seed_writes_the_same_text_on_every_library(install, name, backend):
    library, folder, module = PLUGINS.get(backend, (backend, "", ""))
    pytest.importorskip(library)
    if folder:
        source = (EXAMPLES / folder / f"{module}.py").read_text()
        install(source, name=backend, distribution=f"arrayformer-{backend}", module=module)

    ids = written(name, backend)

    assert ids == written(name, "numpy")
    assert len(set(ids)) > 3
