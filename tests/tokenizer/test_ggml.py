"""Tokenizers from the metadata of a GGUF file."""

import pytest

from arrayformer.core.errors import TokenizerError
from arrayformer.tokenizer import Tokenizer, UnsupportedTokenizerError
from arrayformer.tokenizer.alphabet import PRINTABLE
from arrayformer.tokenizer.ggml import PRE
from arrayformer.tokenizer.split import RULES

MERGES = ["h e", "l l", "he ll"]
TOKENS = [*PRINTABLE, "he", "ll", "hell", "Ġhell", "<s>", "</s>", "   ", "[PAD]", "[未]"]
TYPES = [1] * 260 + [3, 3, 4, 5, 5]


def made(pre="gpt-2", **options):
    return Tokenizer.from_tokens(TOKENS, MERGES, TYPES, pre, **{"bos": 260, "eos": 261} | options)


def test_the_place_of_a_token_in_the_list_is_its_id():
    tokenizer = made()

    assert tokenizer.encode("hell") == [258]
    assert tokenizer.n_vocab == len(TOKENS)
    assert tokenizer.decode([258, 259, 263, 264]) == "hell hell[PAD][未]"
    assert (tokenizer.bos_id, tokenizer.eos_id) == (260, 261)


def test_control_tokens_are_special_and_user_defined_ones_are_cut_out_of_any_text():
    tokenizer = made()

    assert tokenizer.encode("a   b<s>") == [97, 262, 98, *b"<s>"]
    assert tokenizer.encode("a   b<s>", allowed_special=["<s>"]) == [97, 262, 98, 260]
    assert {"<s>", "</s>"} <= tokenizer.special_tokens.keys()


@pytest.mark.parametrize(
    ("pre", "said", "begins"),
    [("gpt-2", None, False), ("gpt-2", True, True), ("llama-bpe", None, True), ("llama-bpe", False, False)],
)
def test_a_text_begins_with_bos_where_the_file_or_llama_cpp_says_so(pre, said, begins):
    tokenizer = made(pre, add_bos=said)

    assert tokenizer.encode("a") == [260] * begins + [97]
    assert tokenizer.encode("a", add_special_tokens=False) == [97]
    assert tokenizer.explain("a").ids == tokenizer.encode("a")


def test_a_text_ends_with_eos_where_the_file_says_so():
    assert made(add_eos=True).encode("a") == [97, 261]


def test_llama_3_takes_a_token_whole_and_the_others_merge():
    assert made("llama-bpe", add_bos=False).encode(" hell") == [259]
    assert made("dbrx").encode(" hell") == [32, 258]


@pytest.mark.parametrize("pre", PRE)
def test_each_known_name_leads_to_a_rule(pre):
    assert made(pre).rule is RULES[PRE[pre]]


def test_qwens_text_is_brought_to_nfc():
    assert made("qwen2").encode("e\u0301") == made("qwen2").encode("é") != made("stablelm2").encode("e\u0301")


def test_an_unknown_way_to_cut_is_refused_and_the_known_ones_are_named():
    with pytest.raises(UnsupportedTokenizerError, match=r"is 'tekken', which is not known here: gpt-2, .*qwen2"):
        made("tekken")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"types": [1]}, "265 tokens, but 1 token types"),
        ({"tokens": ["a"] * 265}, "'a' stands in the list twice"),
        ({"merges": ["he"]}, "merge 1 is 'he'; two tokens"),
        ({"merges": ["h e l"]}, "merge 1 is 'h e l'"),
        ({"merges": ["h o"]}, "needs 'ho', which is not in the vocabulary"),
        ({"bos": 265}, "the bos token has the id 265; there are the ids 0 to 264"),
        ({"eos": -1}, "the eos token has the id -1"),
        ({"bos": None, "add_bos": True}, "bos is put beside every text, but no id"),
        ({"eos": None, "add_eos": True}, "eos is put beside every text, but no id"),
    ],
)
def test_tables_that_do_not_hold_together_are_refused(change, message):
    whole = {"tokens": TOKENS, "merges": MERGES, "types": TYPES, "pre": "gpt-2", "bos": 260, "eos": 261}

    with pytest.raises(TokenizerError, match=message):
        Tokenizer.from_tokens(**whole | change)
