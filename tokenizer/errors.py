"""What can go wrong in this room beside a `TokenizerError`."""

from arrayformer.core.errors import TokenizerError


class UnsupportedTokenizerError(TokenizerError):
    """A tokenizer of another kind: nothing is broken, but its ids cannot be made here."""
