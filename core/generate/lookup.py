"""Guessing what comes next from the text itself: prompt-lookup drafting.

What stood after the last few ids the last time they occurred is a good guess in code, lists and anything that
repeats. The model reads a guess in one pass and draws at each place as if it had come to it step by step; the guess
is kept as far as it is what was drawn. Nothing but the speed depends on it.
https://github.com/apoorvumang/prompt-lookup-decoding
"""

from collections.abc import Sequence

SIZES = (4, 3, 2)
"""How many of the last ids have to occur again, the most telling first."""


class Lookup:
    """Where the ids of one text occurred before."""

    def __init__(self, most: int) -> None:
        """`most` ids are guessed at a time; fewer after a wrong guess, more again after a right one."""
        self.most = most
        self._allowed = most
        self._after: dict[tuple[int, ...], int] = {}  # ids -> the place behind their latest occurrence
        self._indexed = 0

    def guess(self, ids: Sequence[int], most: int) -> list[int]:
        """Up to `most` ids that may follow `ids`, which are those of the last call and some more."""
        for end in range(self._indexed, len(ids)):  # what ends in front of the last id has a successor
            for size in SIZES:
                if size <= end:
                    self._after[tuple(ids[end - size : end])] = end
        self._indexed = len(ids)
        n = min(most, self._allowed)
        at = next((self._after[key] for key in self._tails(ids) if key in self._after), None)
        if at is None or n < 1:
            return []
        period = len(ids) - at  # behind the end of the text its own repetition goes on
        return [ids[at + i % period] for i in range(n)]

    def _tails(self, ids: Sequence[int]) -> list[tuple[int, ...]]:
        return [tuple(ids[-size:]) for size in SIZES if size <= len(ids)]

    def learn(self, drafted: int, accepted: int) -> None:
        """Guess less after a wrong guess, which costs time, and more after a right one."""
        if drafted:
            right = accepted == drafted
            self._allowed = min(self.most, 2 * self._allowed) if right else max(1, accepted, self._allowed // 2)
