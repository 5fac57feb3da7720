import pytest

from arrayformer.core.errors import InputError
from arrayformer.evaluate.windows import check_stride, every_id, plain

CASES = [(n, n_ctx, stride) for n in (1, 2, 7, 8, 9, 16, 17, 30) for n_ctx, stride in ((8, 8), (8, 4), (8, 1), (8, 3))]


@pytest.mark.parametrize(("n", "n_ctx", "stride"), CASES)
def test_every_id_is_scored_once_and_in_order(n: int, n_ctx: int, stride: int) -> None:
    ids = list(range(100, 100 + n))

    windows = list(every_id(ids, 0, n_ctx, stride))

    assert [id for w in windows for id in w.ids[w.first :]] == ids
    assert all(w.first >= 1 and len(w.ids) - 1 <= n_ctx for w in windows)


@pytest.mark.parametrize(("n", "n_ctx", "stride"), CASES)
def test_what_a_window_scores_follows_what_stands_before_it_in_the_text(n: int, n_ctx: int, stride: int) -> None:
    stream = [0, *range(100, 100 + n)]

    for window in every_id(stream[1:], 0, n_ctx, stride):
        start = stream.index(window.ids[0])
        assert list(window.ids) == stream[start : start + len(window.ids)]


def test_later_windows_have_all_the_context_that_fits() -> None:
    windows = list(every_id(list(range(1, 31)), 0, 8, 4))

    assert all(len(w.ids) == 9 for w in windows)
    assert [w.n_scored for w in windows] == [8, 4, 4, 4, 4, 4, 2]


@pytest.mark.parametrize(("n", "n_ctx", "stride"), [c for c in CASES if c[0] > 1])
def test_plain_windows_leave_out_first_ids_and_nothing_else(n: int, n_ctx: int, stride: int) -> None:
    ids = list(range(n))

    windows = list(plain(ids, n_ctx, stride))

    scored = [id for w in windows for id in w.ids[w.first :]]
    skipped = set(range(0, n, n_ctx)) if stride == n_ctx else {0}
    assert scored == [id for id in ids if id not in skipped]


@pytest.mark.parametrize("stride", [0, -1, 9])
def test_a_stride_that_skips_ids_is_refused(stride: int) -> None:
    with pytest.raises(InputError, match=f"stride is {stride}"):
        check_stride(stride, 8)
