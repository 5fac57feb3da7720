"""Adding up what windows scored, in float64, and how sure the sums are."""

import math
from dataclasses import asdict, astuple, dataclass
from typing import NamedTuple


class Outcome(NamedTuple):
    """What one window (or one passage) came to.

    n     ids (or answers) scored
    loss  sum of -ln p of them, in nats
    hits  how many of them the model held for the likeliest
    """

    n: int
    loss: float
    hits: int


@dataclass(frozen=True)
class Totals:
    """Sums over windows: enough for means and their standard errors, small enough to write to a file after each batch.

    windows         how many
    n, loss, hits   as in Outcome
    nn, ll, nl      sums of n * n, loss * loss, n * loss
    hh, nh          sums of hits * hits, n * hits
    """

    windows: int = 0
    n: int = 0
    loss: float = 0.0
    hits: int = 0
    nn: int = 0
    ll: float = 0.0
    nl: float = 0.0
    hh: int = 0
    nh: int = 0

    def add(self, one: Outcome) -> "Totals":
        """These totals and one window more."""
        n, loss, hits = one
        more = (1, n, loss, hits, n * n, loss * loss, n * loss, hits * hits, n * hits)
        return Totals(*(a + b for a, b in zip(astuple(self), more, strict=True)))

    @property
    def mean_loss(self) -> float:
        """Nats per scored id."""
        return self.loss / self.n

    @property
    def accuracy(self) -> float:
        """Share of hits."""
        return self.hits / self.n

    @property
    def loss_error(self) -> float | None:
        """Standard error of `mean_loss`; None for fewer than two windows."""
        return self._error(self.mean_loss, self.ll, self.nl)

    @property
    def accuracy_error(self) -> float | None:
        """Standard error of `accuracy`; None for fewer than two windows."""
        return self._error(self.accuracy, self.hh, self.nh)

    def _error(self, mean: float, squares: float, products: float) -> float | None:
        """Standard error of a ratio of sums, each window one draw: ids in one window are not independent.

        Cochran, Sampling Techniques (1977), formula 6.13, without the correction for a finite population.
        """
        if self.windows < 2:
            return None
        spread = max(0.0, squares - 2 * mean * products + mean * mean * self.nn)
        return math.sqrt(spread * self.windows / (self.windows - 1)) / self.n

    def as_dict(self) -> dict[str, float]:
        """The sums, for a file."""
        return asdict(self)
