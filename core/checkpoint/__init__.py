"""Reading and writing the files a model comes in.

Two forms are read: Hugging Face's (config.json and safetensors, in one file or in shards) and OpenAI's
(hparams.json and a TensorFlow tensor bundle, without TensorFlow). Hugging Face's form is written.

Everything here was written by somebody else, so it is checked before it is believed: the file's kind and size,
the table of tensors, then the config against that table; only then is memory taken for weights.
"""

from arrayformer.core.checkpoint.read import read_checkpoint
from arrayformer.core.checkpoint.save import save_checkpoint

__all__ = ["read_checkpoint", "save_checkpoint"]
