import math
from typing import Any

import numpy as np
import pytest

from arrayformer.evaluate.totals import Outcome, Totals


def add_all(outcomes: Any) -> Any:
    totals = Totals()
    for outcome in outcomes:
        totals = totals.add(outcome)
    return totals


def test_the_error_of_an_accuracy_is_that_of_a_share() -> None:
    hits = [1, 0, 0, 1, 1, 0, 1, 1, 1, 0]

    totals = add_all(Outcome(1, 0.0, hit) for hit in hits)

    assert totals.accuracy == 0.6
    assert totals.accuracy_error == pytest.approx(math.sqrt(0.6 * 0.4 / 9))


def test_the_error_of_a_mean_over_equal_windows_is_that_of_their_means() -> None:
    rng = np.random.default_rng(0)
    means = rng.normal(3.0, 0.5, 40)

    totals = add_all(Outcome(8, 8 * mean, 0) for mean in means)

    assert totals.mean_loss == pytest.approx(np.mean(means))
    assert totals.loss_error == pytest.approx(np.std(means, ddof=1) / math.sqrt(40))


def test_one_window_says_nothing_about_the_spread() -> None:
    totals = add_all([Outcome(100, 250.0, 40)])

    assert totals.loss_error is None
    assert totals.accuracy_error is None


def test_the_error_covers_the_truth_as_often_as_it_should() -> None:
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(200):
        level = rng.normal(3.0, 0.3, 30)  # tokens of one window share its level
        sizes = rng.integers(5, 15, 30)
        losses = [float(np.sum(rng.normal(mean, 1.0, n))) for mean, n in zip(level, sizes, strict=True)]
        totals = add_all(Outcome(int(n), loss, 0) for n, loss in zip(sizes, losses, strict=True))
        inside += abs(totals.mean_loss - 3.0) < 2 * totals.loss_error

    assert 0.88 < inside / 200 < 0.99
