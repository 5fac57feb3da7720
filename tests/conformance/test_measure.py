"""The numbers the verdict rests on."""

import numpy as np

from arrayformer.conformance.criterion import metrics as measure


def logits(seed=0):
    return np.random.default_rng(seed).standard_normal((4, 50)) * 3


def test_a_constant_added_to_a_row_is_no_divergence_but_an_offset():
    r = logits()

    assert measure.divergence(r + 100.0, r).size < 1e-12
    assert measure.offset(r + 100.0, r) > 1


def test_one_wrong_logit_of_many_is_found_where_it_stands():
    r = logits()
    y = r.copy()
    y[2, 17] += 1.0

    far = measure.divergence(y, r)

    assert far.index == (2, 17)
    assert far.size > 0.2


def test_nan_counts_as_an_infinite_error():
    r = logits()
    y = r.copy()
    y[1, 3] = np.nan

    assert measure.divergence(y, r).size == np.inf


def test_scaling_all_logits_changes_no_divergence():
    r, noise = logits(), 1e-3 * logits(1)

    one = measure.divergence(r + noise, r).size
    big = measure.divergence(1e3 * (r + noise), 1e3 * r).size

    assert np.isclose(one, big)


def test_the_tie_rule_leaves_a_choice_only_within_twice_the_limit():
    r = np.array([[0.0, 1.0, 5.0, 5.001]])
    spread = measure.spread(r)[0, 0]

    clear = measure.may_win(r, 0.0004 / spread)
    tied = measure.may_win(r, 0.0006 / spread)

    assert clear[0].tolist() == [False, False, False, True]
    assert tied[0].tolist() == [False, False, True, True]


def test_infinities_of_another_sign_are_not_the_same():
    assert not measure.same_specials(np.array([np.inf]), np.array([-np.inf]))
    assert measure.same_specials(np.array([np.nan, 1.0]), np.array([np.nan, 2.0]))
