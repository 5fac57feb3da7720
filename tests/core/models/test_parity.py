"""Each architecture computes what transformers computes from the same files: the referee for numbers."""

import json

import numpy as np
import pytest
from tests.core.models.families import ALL, FAMILIES, LLAMA3, LONG, LONG8, YARN, changed, named

from arrayformer.backends.numpy.backend import NumpyBackend
from arrayformer.conformance.criterion.metrics import divergence, offset
from arrayformer.core.checkpoint import read_checkpoint, save_checkpoint
from arrayformer.core.checkpoint.config_file import model_from_hf
from arrayformer.core.decoder import forward
from arrayformer.core.engine import Engine
from arrayformer.core.params import map_params

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("error:.*not known here")]
peers = pytest.importorskip("tests.core.models.peers", reason="needs torch and transformers", exc_type=ImportError)

IDS = np.random.default_rng(0).integers(0, 97, (3, 48))
LIMIT = 1e-12  # spreads, in float64; measured at most 5e-14 over all cases
R = 8.0  # as conformance's limit for float32, in units of transformers' own error; measured at most 1.8


def widened(params):
    """float64 weights of the same values"""
    return map_params(lambda x: x.astype(np.float64), params)


@pytest.mark.parametrize(("kind", "change"), ALL, ids=named)
def test_logits_are_those_of_transformers_from_its_own_files(kind, change, tmp_path):
    keys = changed(kind, change)
    narrow, wide = peers.make(keys), peers.make(keys, wide=True)
    narrow.save_pretrained(tmp_path)
    truth = peers.logits(wide, IDS)
    theirs32 = divergence(peers.logits(narrow, IDS), truth).size

    model, params = read_checkpoint(tmp_path)
    ours, _ = forward(model, widened(params), IDS)
    ours32, _ = forward(model, params, IDS, ops=Engine(model, params, NumpyBackend()).ops)

    assert model_from_hf(keys, "keys") == model  # as they were given, and as transformers writes them
    assert divergence(ours, truth).size <= LIMIT
    assert offset(ours, truth) <= LIMIT
    assert divergence(ours32, truth).size <= R * theirs32
    in_pieces(model, params, truth)


def in_pieces(model, params, truth):
    """A row read in pieces, and a ragged batch read in pieces, through the cache and NumPy's own functions."""
    engine = Engine(model, widened(params), NumpyBackend(dtype="float64"))
    alone, many, got, rows = engine.context(1, 48), engine.context(3, 48), [], [[], [], []]
    for start, stop in ((0, 11), (11, 12), (12, 13), (13, 37), (37, 48)):
        got.append(alone.read([IDS[0][start:stop].tolist()], every=True)[0])
    for cut in (
        ((0, 5), (0, 20), (0, 0)), ((5, 6), (20, 48), (0, 9)), ((6, 30), (48, 48), (9, 10)),
        ((30, 48), (48, 48), (10, 48)),
    ):  # fmt: skip
        logits = many.read([row[a:b].tolist() for row, (a, b) in zip(IDS, cut, strict=True)], every=True)
        for row, (a, b) in enumerate(cut):
            rows[row] += list(logits[row, : b - a])

    assert divergence(np.concatenate(got), truth[0]).size <= LIMIT
    assert divergence(np.array(rows), truth).size <= LIMIT


@pytest.mark.parametrize("scaling", [LLAMA3, YARN, LONG8], ids=lambda s: s["rope_type"])
@pytest.mark.parametrize("n", [15, 16, 17, 31, 32, 33, 64])
def test_a_text_may_end_before_at_and_past_the_original_context(scaling, n, tmp_path):
    keys = changed("llama", {"rope_scaling": scaling})
    ids = np.random.default_rng(n).integers(0, 97, (1, n))

    model, params = model_from_hf(keys, "keys"), None
    peers.make(keys).save_pretrained(tmp_path)
    params = widened(read_checkpoint(tmp_path)[1])

    truth = peers.logits(peers.make(keys, wide=True), ids)
    assert divergence(forward(model, params, ids)[0], truth).size <= LIMIT


@pytest.mark.parametrize("kind", ["mistral", "gemma2", "gemma3_text"])
@pytest.mark.parametrize("n", [7, 8, 9, 17])
def test_a_text_may_end_before_at_and_past_the_window(kind, n, tmp_path):
    keys, ids = changed(kind, {}), np.random.default_rng(n).integers(0, 97, (1, n))
    peers.make(keys).save_pretrained(tmp_path)

    model, params = read_checkpoint(tmp_path)

    truth = peers.logits(peers.make(keys, wide=True), ids)
    assert divergence(forward(model, widened(params), ids)[0], truth).size <= LIMIT


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("kind", FAMILIES)
def test_shards_and_narrow_files_are_read_as_transformers_reads_them(kind, dtype, tmp_path):
    import torch
    import transformers

    peers.make(changed(kind, {})).to(getattr(torch, dtype)).save_pretrained(tmp_path, max_shard_size="30KB")

    model, params = read_checkpoint(tmp_path)

    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    params = map_params(lambda x: x.astype(np.float32), params)
    assert divergence(forward(model, params, IDS)[0], peers.logits(theirs, IDS)).size <= 3e-5


def saved_cases():
    """Of each architecture its first config, and what is written in a way of its own."""
    more = [("llama", {"rope_scaling": scaling, "tie_word_embeddings": True}) for scaling in (LLAMA3, YARN, LONG8)]
    more += [("llama", {"attention_bias": True, "mlp_bias": True}), ("mistral", {"sliding_window": None})]
    more += [("qwen2", {"use_sliding_window": True}), ("smollm3", {"use_sliding_window": True, "sliding_window": 5})]
    more += [("phi3", {"rope_scaling": LONG, "sliding_window": 8}), ("phi3", {"partial_rotary_factor": 0.5})]
    more += [("gemma2", {"final_logit_softcapping": None, "attn_logit_softcapping": None})]
    more += [("gemma3_text", {"rope_scaling": {"rope_type": "linear", "factor": 8.0}, "tie_word_embeddings": False})]
    more += [("gpt_neox", {"rope_scaling": {"rope_type": "linear", "factor": 2.0}, "use_parallel_residual": False})]
    return [(kind, {}) for kind in FAMILIES] + more


@pytest.mark.parametrize(("kind", "change"), saved_cases(), ids=named)
def test_transformers_reads_what_is_saved_to_the_same_logits(kind, change, tmp_path):
    import transformers

    theirs = peers.make(changed(kind, change))
    theirs.save_pretrained(tmp_path / "theirs")
    model, params = read_checkpoint(tmp_path / "theirs")

    save_checkpoint(tmp_path / "ours", model, params)

    back, report = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "ours", attn_implementation="eager", output_loading_info=True
    )
    assert not any(report[what] for what in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    np.testing.assert_array_equal(peers.logits(back.eval(), IDS), peers.logits(theirs, IDS))
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["model_type"] == kind
    assert read_checkpoint(tmp_path / "ours")[0] == model
