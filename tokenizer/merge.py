"""Step 2 of the way of the data: join the bytes of one piece by the merge table.

Of the pairs of neighbours present, the one with the lowest rank is joined, the leftmost first, and so on until no
pair is in the table. That is what the loop in OpenAI's `encoder.py` gives for every table in which the parts of a
merge are made by earlier merges, as training makes them.

The whole of it, in six lines that take all the time they want:

>>> def bpe(tokens: list[str], merges: list[tuple[str, str]]) -> list[str]:
...     pairs = list(zip(tokens, tokens[1:]))
...     if not (known := [pair for pair in pairs if pair in merges]):
...         return tokens
...     at = pairs.index(min(known, key=merges.index))
...     return bpe([*tokens[:at], tokens[at] + tokens[at + 1], *tokens[at + 2 :]], merges)
>>> bpe(list("hello"), [("l", "l"), ("h", "e"), ("he", "ll")])
['hell', 'o']
"""

import heapq
from collections.abc import Iterator, Sequence
from itertools import pairwise

Ranks = dict[tuple[int, int], int]
"""(left id, right id) -> rank of the merge; the lowest rank goes first."""

_NONE = 1 << 60
SHORT = 64
"""Ids up to which the plain loop is the faster of the two."""


def merge(ids: list[int], ranks: Ranks, results: Sequence[int]) -> list[int]:
    """The ids of one piece, merged. `results[rank]` is the id that the merge of that rank makes; `ids` may change."""
    if len(ids) > SHORT:
        return merge_long(ids, ranks, results)
    for _ in merge_steps(ids, ranks, results):
        pass
    return ids


def merge_steps(ids: list[int], ranks: Ranks, results: Sequence[int]) -> Iterator[int]:
    """Merge `ids` in place, yielding the rank of each merge after it is done. O(n^2), but the fastest for words."""
    found = [ranks.get(pair, _NONE) for pair in pairwise(ids)]  # found[i] is the rank of the pair at i and i + 1
    while found and (rank := min(found)) != _NONE:
        at = found.index(rank)
        joined = results[rank]
        ids[at : at + 2] = (joined,)
        del found[at]
        if at:
            found[at - 1] = ranks.get((ids[at - 1], joined), _NONE)
        if at < len(found):
            found[at] = ranks.get((joined, ids[at + 1]), _NONE)
        yield rank


def merge_long(ids: list[int], ranks: Ranks, results: Sequence[int]) -> list[int]:
    """The same in O(n log n), for pieces as long as a million letters.

    The ids form a linked list (`left`, `right`: places of the neighbours; one end mark of id -1 after the last).
    `places[rank]` collects where the pair of that rank was seen to begin; a heap gives the lowest rank present.
    A place whose pair has changed since is known by its rank and skipped.
    """
    ids = [*ids, -1]
    left, right = list(range(-1, len(ids) - 1)), list(range(1, len(ids) + 1))
    places: dict[int, list[int]] = {}
    for at, pair in enumerate(pairwise(ids)):
        if (rank := ranks.get(pair)) is not None:
            places.setdefault(rank, []).append(at)
    heap = list(places)
    heapq.heapify(heap)

    while heap:
        rank = heapq.heappop(heap)
        joined = results[rank]
        starts = sorted(places.pop(rank))
        for done, at in enumerate(starts):
            after = right[at]
            if ids[at] < 0 or ranks.get((ids[at], ids[after])) != rank:
                continue
            ids[at], ids[after] = joined, -1
            beyond = right[at] = right[after]
            left[beyond] = at
            before = left[at]
            for start, pair in ((before, (ids[before], joined)), (at, (joined, ids[beyond]))):
                if (new := ranks.get(pair)) is not None and start >= 0:
                    if new not in places:
                        places[new] = []
                        heapq.heappush(heap, new)
                    places[new].append(start)
            if heap and heap[0] < rank:  # a lower rank came up: it goes first
                places[rank] = starts[done + 1 :]
                heapq.heappush(heap, rank)
                break
    return [id for id in ids if id >= 0]
