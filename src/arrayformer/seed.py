"""Loading as picoGPT loads: encoder, sizes and weights in one call."""

from pathlib import Path
from typing import TYPE_CHECKING

from arrayformer.core.checkpoint.read import read_checkpoint
from arrayformer.core.errors import InputError
from arrayformer.core.files.untrusted import ModelDirectory
from arrayformer.core.models.gpt2 import SIZES
from arrayformer.core.params import Params
from arrayformer.hub.resolve import resolve_model

if TYPE_CHECKING:
    from arrayformer.tokenizer import Tokenizer


def load_encoder_hparams_and_params(
    model_size: str, models_dir: str | Path
) -> tuple["Tokenizer", dict[str, int], Params]:
    """Encoder, sizes and weights of one of OpenAI's models, as picoGPT's function of this name gives them.

    model_size  "124M", "355M", "774M" or "1558M"
    models_dir  where its directory is; where it is not, the model is fetched from the Hugging Face Hub
    returns     an encoder with `encode(text)` and `decode(ids)`; n_vocab, n_ctx, n_embd, n_head, n_layer; and
                params for `gpt2(ids, **params, n_head=hparams["n_head"])`

    Raises InputError for another size, and what `resolve_model`, `read_checkpoint` and `load_tokenizer` raise.
    """
    from arrayformer.tokenizer import load_tokenizer

    if model_size not in SIZES:
        raise InputError(f"model_size {model_size!r} is not one of {', '.join(SIZES)}")
    with ModelDirectory(resolve_model(model_size, models_dir=models_dir)) as directory:
        config, params = read_checkpoint(directory)
        encoder = load_tokenizer(directory)
    names = ("n_vocab", "n_ctx", "n_embd", "n_head", "n_layer")
    return encoder, {name: getattr(config, name) for name in names}, params
