"""Text goes out early, and never a character of a stop string."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrayformer.core.generate.stops import TextGate


class Letters:
    """Ids are letters; the last one waits until it is flushed, as half a character does."""

    def __init__(self, words):
        self.words = words

    def push(self, id):
        return self.words[id]

    def flush(self):
        return ""


def pass_through(words, stop):
    gate = TextGate(Letters(words), stop)
    out = []
    for id in range(len(words)):
        out.append(gate.push(id))
        if gate.found:
            return out, True
    return [*out, gate.flush()], gate.found


@pytest.mark.parametrize(
    ("words", "stop", "shown", "found"),
    [
        (["one", " two", " three"], ["two"], "one ", True),  # inside one token
        (["on", "e t", "w", "o!"], ["two"], "one ", True),  # across tokens
        (["one", " tw"], ["two"], "one tw", False),  # held back, then let out
        (["abc"], ["bc", "abc"], "", True),  # the one that begins first
        (["aab"], ["ab"], "a", True),  # a false start
        (["a", "a", "a", "b"], ["aab"], "a", True),
        (["xy"], ["xy"], "", True),
        (["x", "\n\n", "y"], ["\n"], "x", True),
        (["één", " drie"], ["n d"], "éé", True),
    ],
)
def test_text_ends_exactly_where_a_stop_string_begins(words, stop, shown, found):
    pieces, ended = pass_through(words, stop)

    assert "".join(pieces) == shown
    assert ended == found


def test_text_that_can_begin_no_stop_string_goes_out_at_once():
    gate = TextGate(Letters(["Hel", "lo", " w"]), ["world"])

    assert [gate.push(0), gate.push(1), gate.push(2)] == ["Hel", "lo", " "]
    assert gate.flush() == "w"


@given(
    st.lists(st.text("ab", max_size=4), max_size=12),
    st.lists(st.text("ab", min_size=1, max_size=4), max_size=3),
)
def test_in_pieces_the_text_is_cut_as_it_is_in_whole(words, stop):
    pieces, found = pass_through(words, stop)

    # In whole, the first stop string to be complete cuts the text; of several complete at once, the first to begin.
    text, cut = "", None
    for word in words:
        text += word
        starts = [at for s in stop if (at := text.find(s)) >= 0]
        if starts:
            cut = min(starts)
            break
    assert "".join(pieces) == text[:cut]
    assert found == (cut is not None)
