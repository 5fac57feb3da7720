"""Where the bounds of a tokenizer lie: what just fits, and what is one too many."""

import json
import os
import tracemalloc

import pytest

from arrayformer.core.errors import InputError, TokenizerError
from arrayformer.core.files.untrusted import ModelDirectory
from arrayformer.tokenizer import Tokenizer, gpt2_tokenizer, load_tokenizer
from arrayformer.tokenizer.alphabet import PRINTABLE, to_bytes, to_printable
from arrayformer.tokenizer.tokenizer_json import read_tokenizer_json
from arrayformer.tokenizer.word_cache import MAX_LENGTH

BYTES = {character: id for id, character in enumerate(PRINTABLE)}
LONG = "x" * 90


def test_a_piece_that_is_a_token_is_merged_all_the_same_unless_told_otherwise():
    vocab = BYTES | {"he": 256, "hell": 257}

    assert Tokenizer(vocab, [("h", "e")]).encode("hell") == [256, *b"ll"]
    assert Tokenizer(vocab, [("h", "e")], ignore_merges=True).encode("hell") == [257]


def test_words_of_the_vocabulary_are_known_before_a_long_text_only_where_they_are_not_merged():
    vocab, count = BYTES | {"he": 256, "Ġhell": 257}, 14_000
    text = "x" + " hell" * count

    assert Tokenizer(vocab, [("h", "e")]).encode(text) == [*b"x", *[*b" ", 256, *b"ll"] * count]
    whole = Tokenizer(vocab, [("h", "e")], ignore_merges=True)
    for _ in range(2):
        assert whole.encode(text) == [*b"x", *[257] * count]


def test_a_special_token_is_ordinary_text_even_where_a_piece_is_looked_up_whole():
    for vocab in (BYTES, BYTES | {"hey": 256}):
        tokenizer = Tokenizer(vocab, [], {"hey": 256}, ignore_merges=True)

        assert tokenizer.encode("hey") == [BYTES[c] for c in "hey"]
        assert tokenizer.encode("hey", allowed_special=["hey"]) == [256]
        assert tokenizer.n_vocab == 257


def test_the_first_unknown_special_token_is_named_with_sixty_characters():
    tokenizer = Tokenizer(BYTES, [], {"<e>": 256})

    with pytest.raises(InputError, match="^'" + "x" * 60 + "' is no special token of this tokenizer; it has <e>$"):
        tokenizer.encode("a", allowed_special=["y", LONG, "<e>"])


def test_an_id_has_to_be_one_of_the_tables():
    tokenizer = Tokenizer(BYTES | {"he": 256}, [("h", "e")])

    assert tokenizer.token(0) == PRINTABLE[0]
    assert tokenizer.decode([256, 0, 255]) == "he\x00\ufffd"
    for id in (-1, 257):
        for ask in (tokenizer.token, tokenizer.token_bytes, lambda id: tokenizer.decode([0, id, 256])):
            with pytest.raises(InputError, match=f"id {id} does not exist: this tokenizer has the ids 0 to 256$"):
                ask(id)


@pytest.mark.parametrize(("length", "fits"), [(4096, True), (4097, False)])
def test_a_token_has_at_most_4096_characters(length, fits):
    vocab = BYTES | {"a" * length: 256}

    if fits:
        assert Tokenizer(vocab, []).decode([256]) == "a" * length
    else:
        with pytest.raises(TokenizerError, match="the token with id 256 has 4097 characters; 1 to 4096"):
            Tokenizer(vocab, [])


def test_as_many_entries_as_are_allowed_are_allowed(monkeypatch):
    monkeypatch.setattr("arrayformer.tokenizer.table.MAX_VOCAB", 257)

    assert Tokenizer(BYTES, [], {"<e>": 256}).n_vocab == 257
    with pytest.raises(TokenizerError, match="entries"):
        Tokenizer(BYTES, [], {"<e>": 256, "<f>": 257})


def test_a_file_as_large_as_allowed_is_read(tmp_path, monkeypatch):
    (tmp_path / "vocab.json").write_text(json.dumps(BYTES | {"he": 256}))
    (tmp_path / "merges.txt").write_text("h e\n")
    size = (tmp_path / "vocab.json").stat().st_size

    monkeypatch.setattr("arrayformer.tokenizer.table.MAX_TABLE", size)
    assert load_tokenizer(tmp_path).n_vocab == 257
    monkeypatch.setattr("arrayformer.tokenizer.table.MAX_TABLE", size - 1)
    with pytest.raises(TokenizerError, match=f"{size} bytes; at most {size - 1} are read"):
        load_tokenizer(tmp_path)


def test_words_are_remembered_up_to_a_length():
    tokenizer = gpt2_tokenizer.__wrapped__()
    short, long = "x" * MAX_LENGTH, "y" * (MAX_LENGTH + 1)

    tokenizer.encode(f"a {short} {long} b")

    assert {short, "b"} <= tokenizer._words._words.keys()
    assert long not in tokenizer._words._words


VOCABS = {
    "no number": (BYTES | {LONG: "9"}, [], {}),
    "an id twice": (BYTES | {LONG: 256, LONG[1:]: 256}, [], {}),
    "a foreign character": (BYTES | {LONG + " ": 256}, [], {}),
    "a lone surrogate": (BYTES, [], {LONG + "\ud800": 256}),
    "another id": (BYTES | {LONG: 256}, [], {LONG: 257}),
    "a left part that is not there": (BYTES, [(LONG, "a")], {}),
    "a right part that is not there": (BYTES, [("a", LONG)], {}),
    "a result that is not there": (BYTES | {LONG: 256}, [(LONG, "a")], {}),
    "a merge twice": (BYTES | {LONG: 256, LONG + "a": 257}, [(LONG, "a"), (LONG, "a")], {}),
}


@pytest.mark.parametrize("name", VOCABS)
def test_of_a_long_token_a_message_shows_sixty_characters(name):
    with pytest.raises(TokenizerError) as refused:
        Tokenizer(*VOCABS[name])

    assert "x" * 60 in str(refused.value)
    assert "x" * 61 not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"model": {"type": LONG}}, 59),  # and a quotation mark
        ({"model": LONG}, 59),
        ({"model": {"type": "BPE", "dropout": LONG}}, 59),
        ({"pre_tokenizer": {"type": "x" * 200}}, 97),  # and three dots
        ({"added_tokens": LONG}, 59),
        ({"model": {"type": "BPE", "vocab": {}, "merges": [[LONG]]}}, 58),
        ({"pre_tokenizer": [LONG]}, 58),
    ],
)
def test_of_a_long_value_in_a_tokenizer_json_a_message_shows_the_beginning(tmp_path, change, shown):
    whole = {
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False},
        "model": {"type": "BPE", "vocab": {}, "merges": []},
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(whole | change))

    with pytest.raises(TokenizerError) as refused:
        read_tokenizer_json(ModelDirectory(tmp_path))

    message = str(refused.value).removeprefix(str(tmp_path))
    assert "x" * shown in message
    assert "x" * (shown + 1) not in message


def test_the_alphabet_is_latin_1_where_that_prints_and_counts_on_from_256_where_not():
    hidden = [byte for byte in range(256) if (not 33 <= byte <= 126 and not 161 <= byte <= 255) or byte == 173]

    assert len(hidden) == 68
    for byte in range(256):
        assert PRINTABLE[byte] == chr(256 + hidden.index(byte) if byte in hidden else byte)
    assert to_bytes(to_printable(bytes(range(256)))) == bytes(range(256))
    with pytest.raises(TokenizerError, match=r"x{60}' holds ' ' \(U\+0020\)"):
        to_bytes(LONG + " ")


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json"])
def test_files_larger_than_any_in_use_are_refused_unread(tmp_path, name):
    (tmp_path / "vocab.json").write_text(json.dumps(BYTES))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    (tmp_path / name).touch()
    os.truncate(tmp_path / name, 65 << 20)

    with pytest.raises(TokenizerError, match=rf"{name}: {65 << 20} bytes; at most \d+ are read"):
        load_tokenizer(tmp_path)


def test_more_merges_than_any_table_has_are_refused_before_they_are_split(tmp_path, monkeypatch):
    (tmp_path / "vocab.json").write_text(json.dumps(BYTES))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "a b\n" * 9)
    monkeypatch.setattr("arrayformer.tokenizer.table.MAX_MERGES", 8)

    with pytest.raises(TokenizerError, match=r"merges\.txt: 10 lines; at most 8 merges"):
        load_tokenizer(tmp_path)
    with pytest.raises(TokenizerError, match="there are 9 merges; at most 8"):
        Tokenizer(BYTES, [("a", "b")] * 9)


@pytest.mark.parametrize("unit", ["a", "antidisestablishmentarianisticfloccinaucinihilipilification ", "é "])
def test_explaining_a_long_text_takes_bounded_memory(unit):
    text = (unit * 30_000)[:30_000]
    tracemalloc.start()
    try:
        shown = str(gpt2_tokenizer().explain(text))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 30 << 20
    assert shown.endswith(" ".join(map(str, gpt2_tokenizer().encode(text)[-3:])))


def test_a_text_too_long_to_be_explained_is_refused(monkeypatch):
    monkeypatch.setattr("arrayformer.tokenizer.tokenizer.MAX_EXPLAINED", 10)

    assert gpt2_tokenizer().explain("x" * 10)
    with pytest.raises(InputError, match="the text has 11 bytes; at most 10"):
        gpt2_tokenizer().explain("x" * 11)


def test_of_a_long_piece_the_merges_are_not_listed():
    assert len(gpt2_tokenizer().explain("a" * 64).pieces[0].merges) > 30
    long = gpt2_tokenizer().explain("a" * 65).pieces[0]
    assert long.merges == []
    assert long.ids == gpt2_tokenizer().encode("a" * 65)
