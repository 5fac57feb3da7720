"""Step 2 of the way of the data: join the bytes of one piece by the merge table.

Both functions do what the loop in OpenAI's `encoder.py` does: of the pairs present take the one with the lowest
rank, join it at all its places from left to right, and begin again until no pair is in the table.
"""

import heapq
from collections.abc import Sequence
from itertools import pairwise

Ranks = dict[tuple[int, int], int]
"""(left id, right id) -> rank of the merge; the lowest rank goes first."""

_NONE = 1 << 60


def merge(ids: list[int], ranks: Ranks, results: Sequence[int]) -> list[int]:
    """The ids of one piece, merged. `results[rank]` is the id that the merge of that rank makes."""
    return merge_short(ids, ranks, results) if len(ids) < 100 else merge_long(ids, ranks, results)


def merge_short(ids: list[int], ranks: Ranks, results: Sequence[int]) -> list[int]:
    """The plain loop, O(n^2): fastest for words."""
    while len(ids) > 1:
        found = [ranks.get(pair, _NONE) for pair in pairwise(ids)]
        rank = min(found)
        if rank == _NONE:
            break
        if found.count(rank) == 1:
            at = found.index(rank)
            ids[at : at + 2] = (results[rank],)
        else:
            ids = _join_all(ids, found, rank, results[rank])
    return ids


def _join_all(ids: list[int], found: list[int], rank: int, result: int) -> list[int]:
    joined, at = [], 0
    while at < len(ids):
        hit = at < len(found) and found[at] == rank
        joined.append(result if hit else ids[at])
        at += 2 if hit else 1
    return joined


def merge_long(ids: list[int], ranks: Ranks, results: Sequence[int]) -> list[int]:
    """The same in O(n log n), for pieces as long as a million letters.

    The ids form a linked list (`left`, `right`: places of the neighbours, -1 for none). `places[rank]` collects where
    the pair of that rank begins; a heap gives the lowest rank present. A place whose pair has changed meanwhile
    is recognised by its rank and skipped.
    """
    ids = list(ids)
    end = len(ids)
    left, right = list(range(-1, end - 1)), [*range(1, end), -1]
    places: dict[int, list[int]] = {}
    for at, pair in enumerate(pairwise(ids)):
        if (rank := ranks.get(pair)) is not None:
            places.setdefault(rank, []).append(at)
    heap = list(places)
    heapq.heapify(heap)

    while heap:
        rank = heapq.heappop(heap)
        result = results[rank]
        for at in sorted(places.pop(rank)):
            after = right[at]
            if after < 0 or ranks.get((ids[at], ids[after])) != rank:
                continue
            ids[at], ids[after] = result, -1
            beyond = right[at] = right[after]
            if beyond >= 0:
                left[beyond] = at
            before = left[at]
            for start, pair in ((before, (ids[before], result)), (at, (result, ids[beyond]))):
                if start < 0 or (start == at and beyond < 0):
                    continue
                new = ranks.get(pair)
                if new is None:
                    continue
                if new not in places:
                    places[new] = []
                    heapq.heappush(heap, new)
                places[new].append(start)
    return [id for id in ids if id >= 0]


def trace(ids: list[int], ranks: Ranks, results: Sequence[int]) -> list[tuple[int, list[int]]]:
    """The same, step by step: (rank, ids after it was applied) for each merge. For `Tokenizer.explain`."""
    steps = []
    while len(ids) > 1:
        found = [ranks.get(pair, _NONE) for pair in pairwise(ids)]
        rank = min(found)
        if rank == _NONE:
            break
        ids = _join_all(ids, found, rank, results[rank])
        steps.append((rank, ids))
    return steps
