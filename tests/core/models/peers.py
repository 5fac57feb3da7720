"""transformers as the referee: models with random weights that matter, in float32 and in float64 throughout."""

import contextlib
import importlib
import zlib
from copy import deepcopy
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import transformers

torch.set_num_threads(1)  # the models are small: more threads only wait for each other
transformers.utils.logging.disable_progress_bar()

CLASSES = {
    "llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3", "smollm3": "SmolLM3",
    "gemma2": "Gemma2", "gemma3_text": "Gemma3", "olmo2": "Olmo2", "gpt_neox": "GPTNeoX", "phi3": "Phi3",
    "gpt2": "GPT2",
}  # fmt: skip


class Wide:
    """torch, whose float32 is float64."""

    def __getattr__(self, name: str) -> Any:
        return torch.float64 if name in ("float32", "float") else getattr(torch, name)


@contextlib.contextmanager
def in_float64(kind: str):
    """transformers computes norms, softmax and angles in float32 whatever the dtype: here those are float64 too."""
    folder = kind.removesuffix("_text")
    modules = [
        importlib.import_module(f"transformers.models.{folder}.modeling_{folder}"),
        importlib.import_module("transformers.modeling_rope_utils"),
    ]
    with contextlib.ExitStack() as stack:
        stack.enter_context(patch.object(torch.Tensor, "float", lambda self: self.double()))
        for module in modules:
            stack.enter_context(patch.object(module, "torch", Wide()))
        yield


def config_class(kind: str) -> Any:
    """transformers' config class of a model_type."""
    return getattr(transformers, CLASSES[kind] + ("TextConfig" if kind == "gemma3_text" else "Config"))


def draw(name: str, shape: tuple[int, ...], kind: str) -> np.ndarray:
    """Weights whose every part matters: sharp attention, gains away from 1, biases away from 0.

    The same for a tensor of one name and shape, whatever else the model has.
    """
    x = np.random.Generator(np.random.PCG64(zlib.crc32(f"{name}{shape}".encode()))).standard_normal(shape)
    if "norm" in name or ".ln_" in name:
        if name.endswith("bias"):
            return 0.3 * x
        gain = 2.0 if "q_norm" in name or "k_norm" in name else 1.0
        # On a grid, so that 1 + w is exact in float32.
        return np.round(1024 * gain * (1.0 + 0.3 * x)) / 1024 - (1.0 if kind.startswith("gemma") else 0.0)
    if name.endswith("bias"):
        return 0.3 * x
    if any(part in name for part in ("embed", "lm_head", "wte", "wpe")):
        return x / (np.sqrt(shape[1]) if kind.startswith("gemma") and "embed" in name else 1.0)
    strong = any(part in name for part in ("q_proj", "k_proj", "gate", "query_key_value", "qkv", "h_to_4h", "c_attn"))
    return (2.0 if strong else 1.0) / np.sqrt(shape[0 if kind == "gpt2" else 1]) * x


def make(keys: dict[str, Any], wide: bool = False) -> Any:
    """transformers' model of a config, in float32 or in float64, with the same weights (float32 values) in both."""
    kind = keys["model_type"]
    # transformers writes into nested keys
    config = config_class(kind)(**{k: v for k, v in deepcopy(keys).items() if k != "model_type"})
    config._attn_implementation = "eager"
    with in_float64(kind) if wide else contextlib.nullcontext():
        name = CLASSES[kind] + ("LMHeadModel" if kind == "gpt2" else "ForCausalLM")
        model = getattr(transformers, name)(config).eval()
    if wide and kind.startswith("gemma"):
        model.model.embed_tokens.embed_scale = torch.tensor(config.hidden_size**0.5, dtype=torch.float64)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(draw(name, tuple(parameter.shape), kind).astype(np.float32)))
    return model.double() if wide else model  # buffers made in float64 stay so


def logits(model: Any, ids: Any) -> np.ndarray:
    """[batch, seq, n_vocab]"""
    wide = model.dtype == torch.float64
    with torch.no_grad(), in_float64(model.config.model_type) if wide else contextlib.nullcontext():
        return model(input_ids=torch.tensor(ids), use_cache=False).logits.numpy()
