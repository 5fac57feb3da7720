"""GPT-2 on every array library."""

from arrayformer.core.model import ffn, gpt2, mha, transformer_block
from arrayformer.core.ops import attention, gelu, layer_norm, linear, softmax
