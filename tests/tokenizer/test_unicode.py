"""Any Unicode text: round trip, the ids of two independent tokenizers, streaming."""

import pytest
import regex
from hypothesis import example, given, settings
from hypothesis import strategies as st

from arrayformer.core.errors import InputError
from arrayformer.tokenizer import gpt2_tokenizer
from arrayformer.tokenizer.split import RULES, split_rule
from arrayformer.tokenizer.word_cache import WordEncoder

# As OpenAI's encoder.py has it.
PATTERN = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""

# What the pattern treats in a special way, what UTF-8 writes in two to four bytes, what is right-to-left or combines.
PARTS = [
    *("a", " the", "Hello", " don't", "'s", "'S", "'", "''ve", "42", " 7", "x1y2", "²", "Ⅷ", "_", "...", " —", "!?"),
    *(" ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n", "\n ", "\x00", "\x1c", "\x85", "\xa0", "\u2003", "\u3000"),
    *(
        "\ufeff",
        "\u200b",
        "\u200d",
        "é",
        "e\u0301",
        "ß",
        "Ω",
        "Привет",
        " שלום",
        "مرحبا",
        "नमस्ते",
        "漢字",
        " かな",
        "한국어",
    ),
    *("🦜", "👩‍👩‍👧‍👦", "🇫🇷", "𝔘", "\U0010fffd", "\uffff", "<|endoftext|>", "aaaaaaaa", "^^^^"),
]
# Unassigned characters may become letters in the next Unicode, and the three libraries do not change on one day.
characters = st.characters(exclude_categories=["Cs", "Cn"])
texts = st.one_of(
    st.text(characters, max_size=60),
    st.text(st.characters(max_codepoint=127), max_size=60),
    st.lists(st.one_of(st.sampled_from(PARTS), st.text(characters, max_size=3)), max_size=30).map("".join),
)
quick = settings(max_examples=75, deadline=None)


@given(st.text(st.characters(exclude_categories=["Cs"])))
@quick
def test_text_comes_back_exactly(text):
    tokenizer = gpt2_tokenizer()

    ids = tokenizer.encode(text)

    assert tokenizer.decode(ids) == text
    assert tokenizer.decode_bytes(ids) == text.encode()


@given(texts)
@example("".join(PARTS))
@example(" ".join(PARTS))
@quick
def test_the_ids_are_tiktokens(tiktoken_encode, text):
    assert gpt2_tokenizer().encode(text) == tiktoken_encode(text)


@pytest.mark.parametrize("rule", RULES)
@given(text=texts)
@example(text="".join(PARTS))
@example(text=" ".join(PARTS))
@example(text="DON'T we'LL 'ſ İ's a\x1c 1  2 \u0301x 12345 \t\n\r\n (a) ...\n\n")
@quick
def test_the_ids_are_those_of_hugging_face_by_every_rule(gpt2_by, hugging_face_by, rule, text):
    assert gpt2_by[rule].encode(text) == hugging_face_by[rule].encode(text).ids


@given(texts)
@example(" ".join(PARTS))
@quick
def test_words_and_pieces_give_the_same_ids(text):
    # encode() cuts at spaces and looks words up; piece by piece is the definition.
    tokenizer = gpt2_tokenizer()

    assert tokenizer.encode(text) == [id for piece in tokenizer.split(text) for id in tokenizer._encode_piece(piece)]
    assert tokenizer.encode(text) == tokenizer.explain(text).ids
    assert "".join(tokenizer.split(text)) == text


def pieces_by_words(text, rule):
    """The pieces that reach the merges when encode() goes by words: each gets its own id here."""
    pieces = []

    def number(piece):
        pieces.append(piece)
        return [len(pieces) - 1]

    return [pieces[id] for id in WordEncoder(rule, number, dict).encode(text)]


# GPT-2's table hides some wrong cuts, because it joins no space with other white space; other tables do.
@pytest.mark.parametrize("rule", RULES)
@given(
    text=st.lists(
        st.sampled_from([" ", " ", "\n", "\t", "\r\n", "\x1c", "\xa0", "a", "b's", "1", "é", "-", "٣", "'S"]),
        max_size=30,
    ).map("".join)
)
@example(text="y x\n \nb c")
@example(text="y a  \n  b ")
@example(text="y \x1c \x1cb \xa0 c")
@example(text="y a\n 1 b  2 c\n d")
@example(text="y a\n 1 b")
@quick
def test_going_by_words_never_cuts_a_piece(rule, text):
    rule = split_rule(rule)

    assert pieces_by_words(text, rule) == regex.findall(rule.pattern, text)
    assert "".join(rule.pieces(text)) == text


@pytest.mark.parametrize(
    ("rule", "pieces"),
    [
        ("gpt2", ["a", " ", " 12", " DON", "'", "T", " we", "'ll", "\n", " (", "b", ")...", "\t"]),
        ("smollm", ["a", "  ", "1", "2", " DON", "'", "T", " we", "'ll", "\n", " (", "b", ")...", "\t"]),
        ("llama-bpe", ["a", " ", " ", "12", " DON", "'T", " we", "'ll", "\n", " (", "b", ")...", "\t"]),
        ("qwen2", ["a", " ", " ", "1", "2", " DON", "'T", " we", "'ll", "\n", " (", "b", ")...", "\t"]),
    ],
)
def test_what_each_rule_does_with_digits_contractions_and_white_space(rule, pieces):
    assert split_rule(rule).pieces("a  12 DON'T we'll\n (b)...\t") == pieces


def test_gpt2s_rule_is_openais_pattern():
    for text in ["".join(PARTS), " ".join(PARTS), "a  1\n 2 b's 'S\t c"]:
        assert split_rule("gpt2").pieces(text) == regex.findall(PATTERN, text)


@given(texts, st.integers(1, 40))
@example("a  b \n c  ", 1)
@quick
def test_the_size_of_a_chunk_does_not_show(text, size):
    tokenizer = gpt2_tokenizer()
    expected = tokenizer.encode(text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("arrayformer.tokenizer.word_cache._CHUNK", size)
        ids = tokenizer.encode(text)

    assert ids == expected


@given(st.text(st.characters(max_codepoint=127)))
@quick
def test_ascii_is_split_like_all_other_text(text):
    accented = text + "é"  # not ASCII any more: `regex` splits it

    for rule in RULES.values():
        assert rule.pieces(text + "a")[:-1] == rule.pieces(accented)[:-1]


@given(st.lists(st.integers(0, 50256), max_size=60))
@quick
def test_streaming_gives_the_text_of_the_whole(ids):
    tokenizer = gpt2_tokenizer()
    stream = tokenizer.stream()

    text = "".join(map(stream.push, ids)) + stream.flush()

    assert text == tokenizer.decode(ids)


@given(texts)
@quick
def test_streaming_valid_text_never_gives_a_broken_character(text):
    tokenizer = gpt2_tokenizer()
    stream = tokenizer.stream()

    parts = [stream.push(id) for id in tokenizer.encode(text)]

    assert "".join(parts) == text
    assert all("\ufffd" not in part or "\ufffd" in text for part in parts)
    assert stream.flush() == ""


def test_a_character_over_several_ids_comes_out_with_the_last():
    tokenizer = gpt2_tokenizer()
    stream = tokenizer.stream()
    ids = tokenizer.encode("🦜")

    parts = [stream.push(id) for id in ids]

    assert len(ids) > 1
    assert parts == [""] * (len(ids) - 1) + ["🦜"]


def test_an_unfinished_character_is_flushed_as_one_replacement_and_the_stream_starts_anew():
    tokenizer = gpt2_tokenizer()
    stream = tokenizer.stream()
    stream.push(tokenizer.encode("🦜")[0])

    assert stream.flush() == "\ufffd"
    assert stream.flush() == ""
    assert stream.push(15496) == "Hello"


@given(st.text(max_size=20))
@quick
def test_text_is_encoded_or_refused_as_input(text):
    try:
        assert gpt2_tokenizer().encode(text) is not None
    except InputError:
        assert any("\ud800" <= character <= "\udfff" for character in text)
