"""Text <-> ids: byte-level BPE, and conversations as ids. No arrays here, and no model."""

from arrayformer.tokenizer.chat import ChatTemplate, chat_template_of
from arrayformer.tokenizer.errors import UnsupportedTokenizerError
from arrayformer.tokenizer.explanation import Explanation, Piece, render
from arrayformer.tokenizer.files import has_tokenizer, load_tokenizer
from arrayformer.tokenizer.gpt2_table import gpt2_tokenizer
from arrayformer.tokenizer.stream import StreamDecoder
from arrayformer.tokenizer.tokenizer import Tokenizer

__all__ = [
    "ChatTemplate",
    "Explanation",
    "Piece",
    "StreamDecoder",
    "Tokenizer",
    "UnsupportedTokenizerError",
    "chat_template_of",
    "gpt2_tokenizer",
    "has_tokenizer",
    "load_tokenizer",
    "render",
]
