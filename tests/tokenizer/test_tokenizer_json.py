"""Every option of a tokenizer.json that is honoured, beside the library that defined it."""

import json
import random
import unicodedata

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from arrayformer.tokenizer import load_tokenizer
from arrayformer.tokenizer.alphabet import PRINTABLE
from arrayformer.tokenizer.pre_tokenizer import _BEHAVIORS, _PATTERNS

tokenizers = pytest.importorskip("tokenizers")

MERGES = [("Ġ", "a"), ("Ġ", "Ġ"), ("a", "b"), ("Ġ", "1"), ("1", "2"), ("Ċ", "Ċ"), ("Ã", "©"), ("'", "s"), ("ĠĠ", "ĠĠ")]
VOCAB = {token: id for id, token in enumerate([*PRINTABLE, *map("".join, MERGES)])}
CONTENTS = ["<x>", "<x>y", "  ", "ab", "é", "e\u0301", "<|end|>", "\n"]
PARTS = [
    *CONTENTS,
    *(
        "a",
        "b",
        " ",
        "   ",
        "\t",
        "\x1c",
        "\x85",
        "1",
        "12",
        "345",
        "²",
        "'s",
        "'S",
        "-",
        "_",
        "x>",
        "<",
        "漢",
        "Aé",
        "\r\n",
    ),
]
texts = st.lists(st.sampled_from(PARTS), max_size=12).map("".join)
flags = st.booleans()

patterns = st.one_of(
    st.sampled_from(sorted(_PATTERNS)).map(lambda pattern: {"Regex": pattern}),
    st.sampled_from(["a", " ", "é", "[", "1.", "$"]).map(lambda text: {"String": text}),
)
splits = st.builds(
    lambda pattern, behavior, invert: {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert},
    patterns, st.sampled_from(_BEHAVIORS), flags,
)  # fmt: skip
digits = flags.map(lambda each: {"type": "Digits", "individual_digits": each})
byte_levels = st.builds(
    lambda prefix, use: {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": use},
    flags, flags,
)  # fmt: skip
pre_tokenizers = st.builds(
    lambda first, last: {"type": "Sequence", "pretokenizers": [*first, last]},
    st.lists(st.one_of(splits, digits), max_size=2), byte_levels,
)  # fmt: skip
added = st.lists(
    st.fixed_dictionaries(
        {"content": st.sampled_from(CONTENTS)}
        | dict.fromkeys(["single_word", "lstrip", "rstrip", "normalized", "special"], flags)
    ),
    max_size=4,
    unique_by=lambda token: unicodedata.normalize("NFC", str(token["content"])),
)


def numbered(tokens):
    """Added tokens with their ids: those of the vocabulary, or the next ones."""
    new = [token["content"] for token in tokens if token["content"] not in VOCAB]
    ids = VOCAB | {content: len(VOCAB) + n for n, content in enumerate(new)}
    return sorted(({"id": ids[token["content"]]} | token for token in tokens), key=lambda token: token["id"])


def both(directory, **parts):
    """The same file, read here and by the library."""
    whole = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": None, "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True,
        "use_regex": True}, "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "", "fuse_unk": False,
            "end_of_word_suffix": "", "byte_fallback": False, "ignore_merges": False, "vocab": VOCAB,
            "merges": [list(pair) for pair in MERGES],
        },
    }  # fmt: skip
    path = directory / "tokenizer.json"
    path.write_text(json.dumps(whole | parts))
    return load_tokenizer(directory), tokenizers.Tokenizer.from_file(str(path))


@given(text=texts, pre_tokenizer=pre_tokenizers, tokens=added, normalizer=st.sampled_from([None, {"type": "NFC"}]))
@settings(max_examples=200, deadline=None)
def test_the_ids_are_the_librarys(tmp_path_factory, text, pre_tokenizer, tokens, normalizer):
    ours, theirs = both(
        tmp_path_factory.mktemp("made"),
        pre_tokenizer=pre_tokenizer,
        added_tokens=numbered(tokens),
        normalizer=normalizer,
    )

    assert ours.encode(text, allowed_special=ours.special_tokens) == ids_of(theirs, text)
    theirs.encode_special_tokens = True
    assert ordinary(tokens) or ours.encode(text) == ids_of(theirs, text)
    assert ours.explain(text).ids == ours.encode(text)


def ids_of(library, text):
    """The library's ids. Its own panics, where tokens fight for the same white space, say nothing."""
    try:
        return library.encode(text).ids
    except BaseException as error:
        assume(type(error).__name__ != "PanicException")
        raise


def ordinary(tokens):
    """Special tokens that text leads to anyway: they are cut out as ordinary ones are."""
    return {token["content"] for token in tokens if token["special"] and token["content"] in VOCAB}


def test_of_several_added_tokens_at_one_place_the_longest_is_taken(tmp_path):
    flags = dict.fromkeys(["single_word", "lstrip", "rstrip", "normalized", "special"], False)
    entries = numbered([{"content": content} | flags for content in ("<x>", "<x>y", "<x", "y<")])

    ours, theirs = both(tmp_path, added_tokens=entries)

    for text in ("<x>y", "<x>z", "<xy", "y<x>y<x>", "<x<x>yy<x"):
        assert ours.encode(text) == theirs.encode(text).ids


@pytest.mark.parametrize("behavior", _BEHAVIORS)
def test_what_a_split_does_with_its_matches(tmp_path, behavior):
    rng = random.Random(0)
    for invert in (False, True):
        step = {"type": "Split", "pattern": {"Regex": r"\p{N}"}, "behavior": behavior, "invert": invert}
        end = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
        ours, theirs = both(tmp_path, pre_tokenizer={"type": "Sequence", "pretokenizers": [step, end]})
        for _ in range(200):
            text = "".join(rng.choices("a1é ", k=rng.randint(0, 9)))
            pieces = [piece for piece, _ in theirs.pre_tokenizer.pre_tokenize_str(text)]

            assert ["".join(PRINTABLE[byte] for byte in piece.encode()) for piece in ours.split(text)] == pieces


def test_a_template_and_an_unknown_token_are_the_librarys(tmp_path):
    tokens = ["<s>", "</s>"]
    template = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                   {"SpecialToken": {"id": "</s>", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {t: {"id": t, "ids": [len(VOCAB) + n], "tokens": [t]} for n, t in enumerate(tokens)},
    }  # fmt: skip
    flags = dict.fromkeys(["single_word", "lstrip", "rstrip", "normalized"], False) | {"special": True}
    entries = numbered([{"content": token} | flags for token in tokens])
    level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
    post = {"type": "Sequence", "processors": [level, template]}

    ours, theirs = both(tmp_path, post_processor=post, added_tokens=entries)

    assert ours.encode("ab") == theirs.encode("ab").ids
    assert ours.encode("ab", add_special_tokens=False) == theirs.encode("ab", add_special_tokens=False).ids

    few = {token: id for id, token in enumerate(["<unk>", "a", "b", "ab"])}
    model = {"type": "BPE", "unk_token": "<unk>", "vocab": few, "merges": [["a", "b"]]}
    ours, theirs = both(tmp_path, model=model)
    assert ours.encode("abxya") == theirs.encode("abxya").ids == [3, 0, 0, 1]


@pytest.mark.parametrize("whole", [True, False])
def test_ignore_merges_is_the_librarys(tmp_path, whole):
    model = {"type": "BPE", "ignore_merges": whole, "vocab": VOCAB | {"abab": len(VOCAB)}, "merges": ["a b"]}

    ours, theirs = both(tmp_path, model=model)

    assert ours.encode("abab ab") == theirs.encode("abab ab").ids
