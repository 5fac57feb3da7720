"""Cutting a text into windows that fit a model's context. Each id is scored at most once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from arrayformer.core.errors import InputError


@dataclass(frozen=True)
class Window:
    """What is read in one go, and how much of it counts.

    ids    the model reads all but the last of them
    first  ids[first:] are scored, each given everything before it in the window
    """

    ids: tuple[int, ...]
    first: int

    @property
    def n_scored(self) -> int:
        """How many of its ids are scored."""
        return len(self.ids) - self.first


def check_stride(stride: int, n_ctx: int) -> int:
    """`stride`. Raises InputError unless it is 1 to n_ctx."""
    if not 1 <= stride <= n_ctx:
        raise InputError(f"the stride is {stride}; with a context of {n_ctx} it has to be 1 to {n_ctx}")
    return stride


def every_id(ids: Sequence[int], prefix: int, n_ctx: int, stride: int) -> Iterator[Window]:
    """Windows that together score every one of `ids`; the first is scored after `prefix`.

    The first window scores n_ctx ids, each later one the next `stride`, given as many ids before them as fit.
    """
    stream = (prefix, *ids)
    done = 1
    while done < len(stream):
        end = min(done + (n_ctx if done == 1 else stride), len(stream))
        start = max(0, end - n_ctx - 1)
        yield Window(stream[start:end], done - start)
        done = end


def plain(ids: Sequence[int], n_ctx: int, stride: int) -> Iterator[Window]:
    """Windows of n_ctx ids that begin every `stride` ids, with nothing before them.

    What no earlier window held is scored, but never a window's first id: nothing is before it. This is how
    https://huggingface.co/docs/transformers/perplexity cuts a text.
    """
    done = 0
    for start in range(0, len(ids), stride):
        end = min(start + n_ctx, len(ids))
        first = max(1, done - start)
        if first < end - start:
            yield Window(tuple(ids[start:end]), first)
        done = end
        if end == len(ids):
            return
