"""The weights before training, how the network grows, and the loss: `jax.grad` goes through the project's graph."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arrayformer import gpt2
from arrayformer.core.models.gpt2 import GPT2
from arrayformer.core.params import Params, Weight, map_paths


def new_params(config: GPT2, seed: int) -> Params:
    """Weights before training, float32.

    Matrices and embeddings are normal with deviation 0.02, as GPT-2's; layer norms are 1 and 0, biases 0. The
    projections back into the stream start at 0, so that each block begins as the identity.
    """
    rng = np.random.default_rng(seed)

    def draw(path: str, weight: Weight) -> jax.Array:
        if weight.role == "norm":
            return jnp.ones(weight.shape, jnp.float32)
        if path.endswith((".b", "c_proj.w")):
            return jnp.zeros(weight.shape, jnp.float32)
        return jnp.asarray(rng.standard_normal(weight.shape) * 0.02, jnp.float32)

    return map_paths(draw, config.weights())  # type: ignore[no-any-return]


def grow(params: Params, n_layer: int) -> Params:
    """The same function with more blocks: each new block copies the one below, its projections set to 0.

    A network trained shallow first costs less for each id it reads, and a deep one that starts from it soon
    overtakes one that was deep from the start (https://arxiv.org/abs/2405.15319).
    """
    old = params["blocks"]
    source = [i * len(old) // n_layer for i in range(n_layer)]
    blocks = [copy_block(old[at], silent=i > 0 and source[i - 1] == at) for i, at in enumerate(source)]
    return {**params, "blocks": blocks}


def lengthen(params: Params, read: int) -> Params:
    """Position rows from `read` on, which no window has reached yet, begin as copies of rows a window did reach.

    They are taken from the later half: what stands at the start of a window is its own kind of row.
    """
    wpe = params["wpe"]
    half = read // 2
    later = [half + (i - read) % (read - half) for i in range(read, len(wpe))]
    return {**params, "wpe": jnp.concatenate([wpe[:read], wpe[np.array(later, dtype=int)]])}


def copy_block(block: Params, silent: bool) -> Params:
    """A copy; a silent one adds nothing to the stream."""

    def copy(path: str, x: jax.Array) -> jax.Array:
        return jnp.zeros_like(x) if silent and "c_proj" in path else jnp.array(x)

    return map_paths(copy, block)  # type: ignore[no-any-return]


def losses(params: Params, ids: jax.Array, n_head: int) -> jax.Array:
    """Minus the logarithm of the probability of each id after the first.

    ids      [batch, window + 1]
    returns  [batch, window], in nats
    """
    logits: Any = gpt2(ids[:, :-1], **params, n_head=n_head)
    right = jnp.take_along_axis(logits, ids[:, 1:, None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - right
