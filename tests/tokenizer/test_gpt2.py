"""GPT-2's own tokenizer: ids that are known, and what belongs to them."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import arrayformer.tokenizer
from arrayformer.core.errors import InputError
from arrayformer.tokenizer import gpt2_tokenizer, render

KNOWN = [
    ("Hello, world", [15496, 11, 995]),
    ("", []),
    (" ", [220]),
    ("\n\n", [628]),
    ("Not all heroes wear capes.", [3673, 477, 10281, 5806, 1451, 274, 13]),
    (
        "Alan Turing theorized that computers would one day become",
        [36235, 39141, 18765, 1143, 326, 9061, 561, 530, 1110, 1716],
    ),
    ("<|endoftext|>", [27, 91, 437, 1659, 5239, 91, 29]),
]


@pytest.mark.parametrize(("text", "ids"), KNOWN)
def test_known_text_has_its_known_ids(gpt2, text, ids):
    assert gpt2.encode(text) == ids
    assert gpt2.decode(ids) == text


def test_the_table_is_openais_file():
    table = Path(arrayformer.tokenizer.__file__).with_name("gpt2") / "vocab.bpe"

    digest = hashlib.sha256(table.read_bytes()).hexdigest()

    assert digest == "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"
    assert digest in table.with_name("NOTICE.md").read_text(encoding="utf-8")


def test_the_vocabulary_is_openais_encoder_json(gpt2):
    # The sum over "token id" lines of OpenAI's encoder.json, sorted by id.
    lines = "".join(f"{token} {id}\n" for token, id in gpt2.vocab.items())

    digest = hashlib.sha256(lines.encode()).hexdigest()

    assert gpt2.n_vocab == 50257
    assert digest == "dfd729bcc6f1abaa6451126583f5a7eef7f2b2defe741084249792434e49d636"


def test_the_merges_make_every_token_whole(gpt2):
    # Which is why gpt2_tokenizer may take a piece that is a token without a look at the merges.
    plain = arrayformer.tokenizer.Tokenizer(gpt2.vocab, gpt2.merges, gpt2.special_tokens)

    made = [tuple(plain._encode_piece(gpt2.decode([id]))) for id in range(50256) if "\ufffd" not in gpt2.decode([id])]

    assert len(made) > 49_000
    assert [ids for ids in made if len(ids) != 1] == []


def test_end_of_text_is_ordinary_text_unless_allowed(gpt2):
    text = "a<|endoftext|>b"

    assert gpt2.eos_id not in gpt2.encode(text)
    assert gpt2.encode(text, allowed_special=["<|endoftext|>"]) == [64, 50256, 65]
    assert gpt2.encode(text, allowed_special="<|endoftext|>") == [64, 50256, 65]
    assert gpt2.decode([64, 50256, 65]) == text


def test_an_unknown_special_token_is_refused_by_name(gpt2):
    with pytest.raises(InputError, match=r"<\|pad\|>.*it has <\|endoftext\|>"):
        gpt2.encode("a", allowed_special=["<|pad|>"])


def test_a_token_is_shown_in_the_printable_alphabet(gpt2):
    assert gpt2.token(995) == "Ġworld"
    assert gpt2.token_bytes(995) == b" world"
    assert gpt2.token(198) == "Ċ"
    assert gpt2.token(50256) == "<|endoftext|>"


@pytest.mark.parametrize("id", [-1, 50257, 2**70, True, 1.0, None, "1"])
def test_an_id_that_does_not_exist_is_refused(gpt2, id):
    for ask in (gpt2.token, gpt2.token_bytes, gpt2.stream().push, lambda id: gpt2.decode([id])):
        with pytest.raises(InputError, match=re.escape(str(id)) + ".*(exist|integers)"):
            ask(id)


def test_an_id_may_be_any_integer_type_but_is_checked_among_others(gpt2):
    numpy = pytest.importorskip("numpy")

    assert gpt2.decode(numpy.asarray([15496, 11, 995])) == "Hello, world"
    assert gpt2.decode(iter([15496, 11, 995])) == "Hello, world"
    assert gpt2.decode([]) == ""
    for bad in ([11, -1, 995], [11, 50257], [11, True], numpy.asarray([11, -1])):
        with pytest.raises(InputError, match="id"):
            gpt2.decode(bad)


@pytest.mark.parametrize("text", [b"bytes", None, 5, ["a"]])
def test_what_is_not_text_is_refused_by_type(gpt2, text):
    with pytest.raises(InputError, match=type(text).__name__):
        gpt2.encode(text)


@pytest.mark.parametrize(("text", "place"), [("\ud83d", 0), ("ab\udc80c", 2), ("é" * 9 + "\udfff", 9)])
def test_a_lone_surrogate_is_refused_with_its_place(gpt2, text, place):
    with pytest.raises(InputError, match=rf"lone surrogate, U\+D[0-9A-F]+, at character {place}:"):
        gpt2.encode(text)


def test_text_over_the_cap_is_refused_before_any_work(gpt2, monkeypatch):
    monkeypatch.setattr("arrayformer.tokenizer.tokenizer.MAX_BYTES", 10)

    assert gpt2.encode("ä" * 5)
    with pytest.raises(InputError, match="12 bytes; at most 10"):
        gpt2.encode("ä" * 6)


def test_bytes_that_are_no_utf8_are_replaced_in_text_and_kept_in_bytes(gpt2):
    ids = gpt2.encode("🦜")[:1]

    assert gpt2.decode_bytes(ids) == "🦜".encode()[: len(gpt2.decode_bytes(ids))]
    assert gpt2.decode(ids) == "\ufffd"


def test_explain_shows_every_stage(gpt2):
    explanation = gpt2.explain("Hello,  naïve")

    assert [piece.text for piece in explanation.pieces] == ["Hello", ",", " ", " naïve"]
    assert explanation.pieces[0].merges[0] == (41, ["H", "e", "ll", "o"])
    assert explanation.pieces[3].printable == "ĠnaÃ¯ve"
    assert explanation.ids == gpt2.encode("Hello,  naïve")


def test_the_rendering_has_bytes_merges_and_ids_of_each_piece(gpt2):
    text = render(gpt2.explain("Hello"))

    assert text == str(gpt2.explain("Hello"))
    assert text.splitlines() == [
        "text    'Hello'",
        "pieces  'Hello'",
        "",
        "piece   'Hello'",
        "  bytes   48 65 6c 6c 6f",
        "  letters H e l l o",
        "  merge     41  H e ll o",
        "  merge    439  H ell o",
        "  merge  10853  H ello",
        "  merge  15240  Hello",
        "  ids     Hello=15496",
        "",
        "ids     15496",
    ]


def test_a_long_text_has_the_ids_of_its_parts(gpt2):
    # A tokenizer that has read nothing learns the words of its vocabulary before its first long text.
    new = gpt2_tokenizer.__wrapped__()
    line = " The parrot said: don't worry,\n\nit's only  42 pieces\tof   naïve text."

    assert new.encode(line * 2000) == new.encode(line) * 2000 == gpt2.encode(line) * 2000


def test_the_memory_of_words_is_bounded(monkeypatch):
    monkeypatch.setattr("arrayformer.tokenizer.word_cache.MAX_ENTRIES", 50)
    new = gpt2_tokenizer.__wrapped__()
    text = " ".join(f"w{n}" for n in range(1000)) + " " + "x" * 1000

    assert new.decode(new.encode(text)) == text
    assert len(new._words._words) <= 50
    assert len(new._words._pieces) <= 50


def test_the_tokenizer_is_read_once():
    assert gpt2_tokenizer() is gpt2_tokenizer()


def test_the_room_imports_no_arrays_and_only_errors_and_files_of_the_core():
    code = """
import sys, types
package = types.ModuleType("arrayformer"); package.__path__ = sys.argv[1:]; sys.modules["arrayformer"] = package
import arrayformer.tokenizer
arrayformer.tokenizer.gpt2_tokenizer().encode("Hello")
rooms = {name for name in sys.modules if name.startswith("arrayformer.") and ".tokenizer" not in name}
assert {name for name in rooms if ".core.files" not in name} <= {"arrayformer.core", "arrayformer.core.errors"}, rooms
assert not {"numpy", "array_api_compat"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code, *arrayformer.__path__], check=True)
