"""Transformers on every array library.

Nothing is imported before it is used: `import arrayformer` brings in no array library.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arrayformer.api import Model, load
    from arrayformer.chat import Conversation
    from arrayformer.core.checkpoint import save_checkpoint
    from arrayformer.core.errors import ArrayformerError
    from arrayformer.core.generate.options import Options
    from arrayformer.core.models.gpt2 import ffn, gpt2, mha, transformer_block
    from arrayformer.core.ops import attention, gelu, layer_norm, linear, softmax
    from arrayformer.core.plugins.hooks import hookimpl
    from arrayformer.generation import Generation, Stream
    from arrayformer.seed import load_encoder_hparams_and_params
    from arrayformer.tokenizer import Tokenizer

    __version__: str

__all__ = [
    "ArrayformerError",
    "Conversation",
    "Generation",
    "Model",
    "Options",
    "Stream",
    "Tokenizer",
    "__version__",
    "attention",
    "ffn",
    "gelu",
    "gpt2",
    "hookimpl",
    "layer_norm",
    "linear",
    "load",
    "load_encoder_hparams_and_params",
    "mha",
    "save_checkpoint",
    "softmax",
    "transformer_block",
]

_HOMES = {
    "arrayformer.api": ("Model", "load"),
    "arrayformer.chat": ("Conversation",),
    "arrayformer.core.plugins.hooks": ("hookimpl",),
    "arrayformer.core.checkpoint": ("save_checkpoint",),
    "arrayformer.seed": ("load_encoder_hparams_and_params",),
    "arrayformer.core.errors": ("ArrayformerError",),
    "arrayformer.core.models.gpt2": ("ffn", "gpt2", "mha", "transformer_block"),
    "arrayformer.core.ops": ("attention", "gelu", "layer_norm", "linear", "softmax"),
    "arrayformer.core.generate.options": ("Options",),
    "arrayformer.generation": ("Generation", "Stream"),
    "arrayformer.tokenizer": ("Tokenizer",),
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, the first time it is."""
    if name == "__version__":
        value: Any = import_module("importlib.metadata").version("arrayformer")
    else:
        home = next((module for module, names in _HOMES.items() if name in names), None)
        if home is None:
            raise AttributeError(f"module 'arrayformer' has no attribute {name!r}")
        value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
