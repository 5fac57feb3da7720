"""The same logits and the same greedy text as Hugging Face's GPT-2, on random weights of odd shapes."""

from typing import Any

import numpy as np
import pytest

from arrayformer.backends.numpy.backend import NumpyBackend
from arrayformer.core.engine import Engine
from arrayformer.core.models.gpt2 import GPT2, SIZES
from arrayformer.core.params import Params, map_paths, random_params

pytestmark = pytest.mark.parity

CONFIGS = {
    "odd": GPT2(n_vocab=257, n_ctx=33, n_embd=48, n_head=3, n_layer=3),
    "inner": GPT2(n_vocab=101, n_ctx=20, n_embd=40, n_head=5, n_layer=2, n_inner=56),
    "erf": GPT2(n_vocab=101, n_ctx=20, n_embd=40, n_head=1, n_layer=2, activation_function="gelu"),
    "relu": GPT2(n_vocab=101, n_ctx=20, n_embd=40, n_head=4, n_layer=2, activation_function="relu"),
    "silu": GPT2(n_vocab=101, n_ctx=20, n_embd=40, n_head=4, n_layer=2, activation_function="silu"),
    "epsilon": GPT2(n_vocab=101, n_ctx=20, n_embd=40, n_head=4, n_layer=2, layer_norm_epsilon=1e-2),
    "unscaled": GPT2(n_vocab=101, n_ctx=20, n_embd=40, n_head=4, n_layer=2, scale_attn_weights=False),
    "by_layer": GPT2(n_vocab=101, n_ctx=20, n_embd=40, n_head=4, n_layer=3, scale_attn_by_inverse_layer_idx=True),
    "upcast": GPT2(n_vocab=101, n_ctx=20, n_embd=40, n_head=4, n_layer=2, reorder_and_upcast_attn=True),
    "untied": GPT2(n_vocab=101, n_ctx=20, n_embd=40, n_head=4, n_layer=2, tie_word_embeddings=False),
    "124M": SIZES["124M"],
}


def transformers_model(config: GPT2, params: Params, dtype: Any) -> Any:
    """`GPT2LMHeadModel` with the same weights."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    theirs = transformers.GPT2Config(
        vocab_size=config.n_vocab, n_positions=config.n_ctx, bos_token_id=0, eos_token_id=0,
        **{k: v for k, v in config.as_dict().items() if k not in ("n_vocab", "n_ctx", "eos_token_id")},
    )  # fmt: skip
    model = transformers.GPT2LMHeadModel(theirs).to(dtype).eval()
    state = {}
    for name, tensor in model.state_dict().items():
        x = params
        path = name.removeprefix("transformer.").replace("lm_head.weight", "lm_head").replace("h.", "blocks.", 1)
        if path == "lm_head" and config.tie_word_embeddings:
            path = "wte.weight"
        leaf = {"weight": "g" if ".ln_" in f".{path}" else "w", "bias": "b"}
        for key in path.replace("wte.weight", "wte").replace("wpe.weight", "wpe").split("."):
            x = x[int(key)] if isinstance(x, list) else x[leaf.get(key, key)]
        state[name] = torch.tensor(x).to(tensor.dtype).reshape(tensor.shape)
    model.load_state_dict(state)
    return model


def centred(x: np.ndarray) -> np.ndarray:
    return np.asarray(x - x.mean(-1, keepdims=True))


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_equal_transformers(name: str) -> None:
    torch = pytest.importorskip("torch")
    config = CONFIGS[name]
    params = random_params(config.weights(), seed=5, gain=0.02 if name == "124M" else 0.2)
    ids = np.random.default_rng(0).integers(config.n_vocab, size=min(config.n_ctx, 40)).tolist()

    ours = Engine(config, params, NumpyBackend()).logits(ids).astype(np.float64)
    with torch.no_grad():
        model = transformers_model(config, params, torch.float64 if name != "124M" else torch.float32)
        theirs = model(torch.tensor([ids])).logits[0].double().numpy()

    assert np.max(np.abs(centred(ours) - centred(theirs)) / theirs.std(-1, keepdims=True)) < 1e-4


def test_greedy_continuations_equal_transformers() -> None:
    torch = pytest.importorskip("torch")
    config = CONFIGS["odd"]
    params = random_params(config.weights(), seed=6, gain=0.3)
    ids = [5, 250, 17]
    context = Engine(config, params, NumpyBackend()).context()

    unread, ours = ids, []
    for _ in range(20):
        ours.append(int(np.argmax(context.read([unread])[0])))
        unread = ours[-1:]
    model = transformers_model(config, params, torch.float32)
    theirs = model.generate(torch.tensor([ids]), max_new_tokens=20, do_sample=False, eos_token_id=None, pad_token_id=0)

    assert theirs[0, 3:].tolist() == ours


def test_bfloat16_weights_give_what_they_give_as_float32() -> None:
    torch = pytest.importorskip("torch")
    config = CONFIGS["odd"]
    rounded = map_paths(
        lambda _path, x: torch.tensor(x).bfloat16().float().numpy(), random_params(config.weights(), seed=7, gain=0.2)
    )
    ids = [1, 2, 3, 200]

    ours = Engine(config, rounded, NumpyBackend()).logits(ids)
    with torch.no_grad():
        theirs = transformers_model(config, rounded, torch.bfloat16).to(torch.float64)(torch.tensor([ids])).logits[0]

    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-4 * theirs.numpy().std())
