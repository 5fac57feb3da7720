"""Tokenizers from the files beside a checkpoint: three forms, and what is wrong with the broken ones."""

import json
import os
import re
import sys
import warnings

import pytest

from arrayformer.core.errors import TokenizerError
from arrayformer.tokenizer import Tokenizer, UnsupportedTokenizerError, has_tokenizer, load_tokenizer
from arrayformer.tokenizer.alphabet import BYTE_ORDER, PRINTABLE


@pytest.fixture(autouse=True)
def without_the_library(request, monkeypatch):
    """What is not read here is refused, as where the package tokenizers is not installed."""
    if "library" not in request.node.name:
        monkeypatch.setitem(sys.modules, "tokenizers", None)


BYTES = [PRINTABLE[byte] for byte in BYTE_ORDER]
MERGES = [("h", "e"), ("l", "l"), ("he", "ll"), ("Ġ", "hell"), ("#", "#")]
TOKENS = [*BYTES, *map("".join, MERGES), "<|endoftext|>"]
VOCAB = {token: id for id, token in enumerate(TOKENS)}
LINES = ["#version: 0.2", *map(" ".join, MERGES)]
HELL_HELLO = [258, 259, 78]  # "hell hello"


def write_pair(directory, vocab=VOCAB, lines=LINES, names=("vocab.json", "merges.txt")):
    (directory / names[0]).write_text(vocab if isinstance(vocab, str) else json.dumps(vocab), encoding="utf-8")
    (directory / names[1]).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="")
    return directory


def tokenizer_json(**model):
    return {
        "added_tokens": [{"id": len(TOKENS) - 1, "content": "<|endoftext|>", "special": True}],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False},
        "model": {"type": "BPE", "dropout": None, "vocab": VOCAB, "merges": [list(pair) for pair in MERGES]} | model,
    }


def write_single(directory, content):
    (directory / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    return directory


def check(tokenizer):
    assert tokenizer.encode("hell hello") == HELL_HELLO
    assert tokenizer.decode(HELL_HELLO) == "hell hello"
    assert tokenizer.n_vocab == len(TOKENS)
    assert tokenizer.eos_id == len(TOKENS) - 1
    assert tokenizer.encode("##") == [260]
    assert tokenizer.vocab == VOCAB
    assert tokenizer.merges == MERGES


def test_vocab_json_and_merges_txt_are_read(tmp_path):
    check(load_tokenizer(write_pair(tmp_path)))


def test_openais_encoder_json_and_vocab_bpe_are_read(tmp_path):
    check(load_tokenizer(write_pair(tmp_path, names=("encoder.json", "vocab.bpe"))))


@pytest.mark.parametrize("merges", [[list(pair) for pair in MERGES], [" ".join(pair) for pair in MERGES]])
def test_tokenizer_json_is_read_in_its_old_and_new_form(tmp_path, merges):
    check(load_tokenizer(write_single(tmp_path, tokenizer_json(merges=merges))))


def test_what_the_tokenizers_library_writes_is_read_with_its_ids(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    trained = tokenizers.Tokenizer(tokenizers.models.BPE())
    trained.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=BYTES, special_tokens=["<|endoftext|>"], show_progress=False
    )
    text = "the cat sat on the mat; the rat that the cat ate sat there too"
    trained.train_from_iterator([text], trainer)
    (tmp_path / "pair").mkdir()
    (tmp_path / "single").mkdir()
    trained.model.save(str(tmp_path / "pair"))
    trained.save(str(tmp_path / "single" / "tokenizer.json"))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = [load_tokenizer(tmp_path / name) for name in ("pair", "single")]

    for tokenizer in loaded:
        assert tokenizer.encode(text) == trained.encode(text).ids
        assert tokenizer.eos_id == trained.token_to_id("<|endoftext|>")


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("header", [["#version: 0.2"], ["#version: 0.2 - Trained by `huggingface/tokenizers`"], []])
@pytest.mark.parametrize("last", [True, False])
def test_line_ends_and_the_header_do_not_matter(tmp_path, ending, header, last):
    write_pair(tmp_path)
    text = ending.join([*header, *LINES[1:]]) + ending * last
    (tmp_path / "merges.txt").write_text(text, encoding="utf-8", newline="")

    check(load_tokenizer(tmp_path))


def test_a_byte_order_mark_does_not_matter(tmp_path):
    write_pair(tmp_path, vocab="\ufeff" + json.dumps(VOCAB))

    check(load_tokenizer(tmp_path))


def test_a_directory_without_a_tokenizer_says_what_is_needed(tmp_path):
    assert not has_tokenizer(tmp_path)
    with pytest.raises(TokenizerError, match=r"there is no tokenizer; .*vocab\.json and merges\.txt.*ids only"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt", "encoder.json", "vocab.bpe"])
def test_half_a_tokenizer_is_not_taken_for_none(tmp_path, name):
    (tmp_path / name).write_text("{}")

    assert has_tokenizer(tmp_path)
    with pytest.raises(TokenizerError, match=f"{name} is only half of a tokenizer"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt", "tokenizer.json"])
def test_a_link_that_leads_nowhere_is_not_taken_for_no_file(tmp_path, name):
    write_pair(tmp_path)
    for other in ("vocab.json", "merges.txt") if name == "tokenizer.json" else (name,):
        (tmp_path / other).unlink()
    (tmp_path / name).symlink_to("nowhere")

    assert has_tokenizer(tmp_path)
    with pytest.raises(TokenizerError, match=f"{name}: is a link that leads nowhere, it says nowhere"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("name", ["added_tokens.json", "tokenizer_config.json", "tokenizer.json"])
def test_a_broken_link_beside_a_tokenizer_is_refused(tmp_path, name):
    write_pair(tmp_path)
    (tmp_path / name).symlink_to("nowhere")

    with pytest.raises(TokenizerError, match=f"{name}: is a link that leads nowhere"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    "other",
    [
        tokenizer_json(merges=[["h", "e"]]),
        tokenizer_json(vocab=VOCAB | {"more": len(TOKENS)}),
        tokenizer_json(vocab={**VOCAB, "!": 1, '"': 0}),
    ],
)
def test_a_tokenizer_json_that_says_something_else_than_the_two_files_is_refused(tmp_path, other):
    write_single(write_pair(tmp_path), other)

    with pytest.raises(TokenizerError, match=r"tokenizer\.json says something else than vocab\.json and merges\.txt"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_json_that_cannot_be_read_is_not_passed_over(tmp_path):
    write_single(write_pair(tmp_path), {"model": {"type": "WordLevel"}})

    with pytest.raises(UnsupportedTokenizerError, match="its model is 'WordLevel'"):
        load_tokenizer(tmp_path)


def test_the_two_files_may_leave_out_what_was_added(tmp_path):
    plain = {token: id for token, id in VOCAB.items() if token != "<|endoftext|>"}
    write_single(write_pair(tmp_path, plain), tokenizer_json(vocab=plain))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(load_tokenizer(tmp_path))


def test_an_agreeing_tokenizer_json_causes_no_warning(tmp_path):
    write_single(write_pair(tmp_path), tokenizer_json())

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(load_tokenizer(tmp_path))


def test_a_vocab_without_merges_leaves_the_word_to_tokenizer_json(tmp_path):
    write_single(write_pair(tmp_path), tokenizer_json())
    (tmp_path / "merges.txt").unlink()

    check(load_tokenizer(tmp_path))


def test_added_tokens_are_cut_out_of_any_text_unless_they_are_called_special(tmp_path):
    write_pair(tmp_path)
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<|user|>": len(TOKENS), "<|sep|>": len(TOKENS) + 1}))
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"sep_token": "<|sep|>"}))

    tokenizer = load_tokenizer(tmp_path)

    assert tokenizer.n_vocab == len(TOKENS) + 2
    assert tokenizer.encode("hell<|user|>") == [258, len(TOKENS)]
    assert tokenizer.encode("<|sep|>") != [len(TOKENS) + 1] == tokenizer.encode("<|sep|>", allowed_special="<|sep|>")
    assert tokenizer.decode([len(TOKENS)]) == "<|user|>"


def config(directory, **content):
    (directory / "tokenizer_config.json").write_text(json.dumps(content))
    return directory


def test_a_space_goes_before_every_text_where_the_config_says_so(tmp_path):
    tokenizer = load_tokenizer(config(write_pair(tmp_path), add_prefix_space=True))

    assert tokenizer.encode("hell hell") == tokenizer.encode(" hell hell") == [259, 259]
    assert tokenizer.encode("") == []


def test_bos_and_eos_go_around_every_text_where_the_config_says_so(tmp_path):
    end = len(TOKENS) - 1
    names = {"bos_token": "<|endoftext|>", "eos_token": {"content": "<|endoftext|>", "special": True}}

    assert load_tokenizer(config(write_pair(tmp_path), add_bos_token=True, **names)).encode("he") == [end, 256]
    assert load_tokenizer(config(tmp_path, add_eos_token=True, **names)).encode("he") == [256, end]
    assert load_tokenizer(config(tmp_path, add_bos_token=True)).encode("he") == [end, 256]  # GPT-2's own
    other = load_tokenizer(config(tmp_path, add_bos_token=True, tokenizer_class="CodeGenTokenizer"))
    assert (other.encode("he"), other.bos_id, other.eos_id) == ([256], None, end)  # there is none to put


def test_what_the_config_says_of_bos_and_eos_stands_for_the_template_of_tokenizer_json(tmp_path):
    end = len(TOKENS) - 1
    token = {"SpecialToken": {"id": "E", "type_id": 0}}
    template = {
        "type": "TemplateProcessing",
        "single": [token, {"Sequence": {"id": "A", "type_id": 0}}, token],
        "special_tokens": {"E": {"id": "E", "ids": [end], "tokens": ["<|endoftext|>"]}},
    }
    write_single(tmp_path, tokenizer_json() | {"post_processor": template})

    assert load_tokenizer(tmp_path).encode("he") == [end, 256, end]
    assert load_tokenizer(config(tmp_path, add_bos_token=False)).encode("he") == [256]


def test_a_template_without_tokens_as_transformers_saves_it_changes_nothing(tmp_path):
    template = {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}], "special_tokens": {}}

    check(load_tokenizer(write_single(tmp_path, tokenizer_json() | {"post_processor": template})))


def test_a_model_without_a_type_as_gpt2_is_published_is_read(tmp_path):
    content = tokenizer_json()
    del content["model"]["type"]

    check(load_tokenizer(write_single(tmp_path, content)))


def test_a_class_of_transformers_says_how_text_is_cut_where_nothing_else_does(tmp_path):
    write_pair(tmp_path)

    assert load_tokenizer(config(tmp_path, tokenizer_class="GPT2TokenizerFast")).rule.name == "gpt2"
    qwen = load_tokenizer(config(tmp_path, tokenizer_class="Qwen2Tokenizer"))
    assert (qwen.rule.name, qwen.normalization) == ("qwen2", "NFC")
    with pytest.raises(UnsupportedTokenizerError, match="tokenizer_class is 'LlamaTokenizer', whose way"):
        load_tokenizer(config(tmp_path, tokenizer_class="LlamaTokenizer"))
    config(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}')
    assert load_tokenizer(tmp_path).rule.name == "qwen2"


def test_a_special_token_that_text_leads_to_anyway_stays_text(tmp_path):
    tokenizer = load_tokenizer(config(write_pair(tmp_path), pad_token="!", unk_token="he"))

    assert tokenizer.encode("!hell") == [0, 256, 257]  # cut out of any text, as Hugging Face does it
    assert tokenizer.special_tokens.keys() == {"<|endoftext|>"}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"tokenizer_config.json": {"add_prefix_space": 1}}, "add_prefix_space is 1; true or false"),
        ({"tokenizer_config.json": {"eos_token": "<x>"}}, "the eos token '<x>' is neither in the vocabulary"),
        ({"tokenizer_config.json": {"eos_token": 5}}, "eos_token is 5; a token is needed"),
        ({"tokenizer_config.json": {"chat_template": 5}}, "chat_template is 5; a text"),
        (
            {"tokenizer_config.json": {"added_tokens_decoder": []}, "added_tokens.json": {"a": "b"}},
            "id of the token 'a'",
        ),
        ({"tokenizer_config.json": {"added_tokens_decoder": [1]}}, "added_tokens_decoder is"),
        ({"tokenizer_config.json": {"added_tokens_decoder": {"x": {"content": "a"}}}}, "id of the token 'a' is 'x'"),
        ({"tokenizer_config.json": {"added_tokens_decoder": {"262": {}}}}, "has no 'content' and 'id'"),
        (
            {
                "tokenizer_config.json": {"added_tokens_decoder": {"262": {"content": "<x>"}}},
                "added_tokens.json": {"<x>": 263},
            },
            "'<x>' has the id 262 in tokenizer_config.json and 263 in added_tokens.json",
        ),
        (
            {"tokenizer_config.json": {"bos_token": "he"}, "special_tokens_map.json": {"bos_token": "ll"}},
            "bos_token is 'he' in tokenizer_config.json and 'll' in special_tokens_map.json",
        ),
        ({"special_tokens_map.json": {"additional_special_tokens": [1]}}, "additional_special_tokens is 1; a token"),
    ],
)
def test_files_beside_the_tables_that_are_wrong_are_refused(tmp_path, files, message):
    write_pair(tmp_path)
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))

    with pytest.raises(TokenizerError, match=message):
        load_tokenizer(tmp_path)


def test_a_token_that_has_a_role_is_special(tmp_path):
    write_single(
        tmp_path, tokenizer_json() | {"added_tokens": [{"id": 261, "content": "<|endoftext|>", "special": False}]}
    )

    assert load_tokenizer(tmp_path).encode("<|endoftext|>") == [261]
    assert load_tokenizer(config(tmp_path, eos_token="<|endoftext|>")).encode("<|endoftext|>") != [261]


def test_files_that_contradict_tokenizer_json_are_refused(tmp_path):
    write_single(tmp_path, tokenizer_json())
    end = {"content": "<|endoftext|>", "special": True, "lstrip": True}

    with pytest.raises(TokenizerError, match="is id 261 special here and id 261 special lstrip in tok"):
        load_tokenizer(config(tmp_path, added_tokens_decoder={"261": end}))
    with pytest.raises(TokenizerError, match="add_prefix_space is False here and True in tokenizer_config"):
        load_tokenizer(config(tmp_path, add_prefix_space=True))


@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"])
def test_a_broken_link_beside_the_tables_is_refused(tmp_path, name):
    write_pair(tmp_path)
    (tmp_path / name).symlink_to("nowhere")

    with pytest.raises(TokenizerError, match=f"{name}: "):
        load_tokenizer(tmp_path)


def test_the_chat_template_is_found_where_it_lies(tmp_path):
    assert load_tokenizer(write_pair(tmp_path)).chat_template is None
    assert load_tokenizer(config(tmp_path, chat_template="{{ a }}")).chat_template == "{{ a }}"
    named = [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]
    assert load_tokenizer(config(tmp_path, chat_template=named)).chat_template == "d"
    (tmp_path / "chat_template.jinja").write_text("{{ b }}")
    assert load_tokenizer(tmp_path).chat_template == "{{ b }}"


def test_tokens_that_nothing_makes_are_counted_in_a_warning(tmp_path):
    write_pair(tmp_path, vocab={**VOCAB, "unreached": len(TOKENS)})

    words = "263 tokens, but 256 bytes, 5 merges and 1 added tokens make 262"
    with pytest.warns(UserWarning, match=words) as warned:
        load_tokenizer(tmp_path)
    assert warned[0].filename == __file__


def test_a_byte_without_a_token_is_refused_when_it_is_met(tmp_path):
    tokens = [token for token in TOKENS if token != "z"]
    write_pair(tmp_path, vocab={token: id for id, token in enumerate(tokens)})
    with pytest.warns(UserWarning, match="261 tokens, but 256 bytes"):
        tokenizer = load_tokenizer(tmp_path)

    assert tokenizer.decode(tokenizer.encode("hello")) == "hello"
    with pytest.raises(ValueError, match="byte 0x7a"):
        tokenizer.encode("zoo")


def swap(token, id):
    return {**VOCAB, token: id}


def without(token):
    return {key: id for key, id in VOCAB.items() if key != token}


BAD_VOCABS = {
    "empty file": ("", "the file is empty"),
    "not json": ('{"a": 0', r"not JSON at line 1, column"),
    "a list": ("[]", "holds a JSON list"),
    "a number": ("7", "holds a JSON int"),
    "no entries": ("{}", "the vocabulary is empty"),
    "a key twice": ('{"a": 0, "b": 1, "a": 2}', "the key 'a' stands there twice"),
    "an id twice": (swap("!", 1), "'!' and '\"' have the same id 1"),
    "a gap": (swap("<|endoftext|>", 400), "262 tokens need the ids 0 to 261, but no token has the id 261"),
    "a hole": (without("b"), "no token has the id 65"),
    "negative": (swap("!", -1), "the id of the token '!' is -1"),
    "a float": (swap("!", 0.0), r"the id of the token '!' is 0\.0"),
    "a string": (swap("!", "0"), "the id of the token '!' is 0"),
    "true": (swap('"', True), "the id of the token '\"' is True"),
    "null": (swap("!", None), "the id of the token '!' is None"),
    "not a number": (json.dumps(swap("!", float("nan"))), "NaN is not a JSON number"),
    "a long number": ('{"a": ' + "9" * 5000 + "}", "a number of 5000 digits"),
    "nested deep": ("[" * 100_000, "nested too deeply"),
    "an empty token": ({**VOCAB, "": len(TOKENS)}, "has 0 characters"),
    "a huge token": ({**VOCAB, "a" * 5000: len(TOKENS)}, "has 5000 characters"),
    "a foreign character": ({**VOCAB, "no byte": len(TOKENS)}, r"holds ' ' \(U\+0020\)"),
    "a lone surrogate": ('{"\\ud83d": 0}', r"U\+D83D"),
    "a special lone surrogate": ('{"<\\ud83d>": 0}', "lone surrogate"),
    "git-lfs": ("version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "a web page": ("<!DOCTYPE html>", "is an HTML or XML page"),
    "a part of a merge is missing": (
        {t: i for i, t in enumerate(t for t in TOKENS if t != "ll")},
        "line 3: .*needs 'll'",
    ),
}


@pytest.mark.parametrize("name", BAD_VOCABS)
def test_a_bad_vocabulary_is_refused_with_file_and_reason(tmp_path, name):
    vocab, message = BAD_VOCABS[name]
    write_pair(tmp_path, vocab)

    with pytest.raises(TokenizerError, match=message) as caught:
        load_tokenizer(tmp_path)

    assert str(tmp_path) in str(caught.value)
    assert caught.value.exit_code == 3
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


BAD_MERGES = {
    "empty file": ([], "the file is empty"),
    "header only": (["#version: 0.2"], "line 2|not one merge"),
    "one field": ([*LINES, "he"], "line 7: a merge is two tokens"),
    "three fields": ([*LINES, "h e l"], "line 7: a merge is two tokens"),
    "a tab": ([*LINES, "h\te"], "line 7: a merge is two tokens"),
    "a tab and a space": ([*LINES, "h \te"], "line 7: "),
    "two spaces": ([*LINES, "h  e"], "line 7: a merge is two tokens"),
    "a space at the end": ([*LINES[:3], "he ll ", *LINES[4:]], "line 4: a merge is two tokens"),
    "a space at the beginning": ([" h e", *LINES], "line 1: a merge is two tokens"),
    "an empty line": ([LINES[0], "", *LINES[1:]], "line 2: a merge is two tokens"),
    "an empty last line": ([*LINES, ""], "line 7: a merge is two tokens"),
    "a header in the middle": ([*LINES, LINES[0]], "line 7: .*needs '#version:', which is not in the vocabulary"),
    "a merge twice": ([*LINES, "h e"], "line 7: 'h e' stands in the table twice"),
    "an unknown result": ([*LINES, "h o"], "line 7: 'h o' needs 'ho', which is not in the vocabulary"),
    "an unknown part": (["hel lo", *LINES[1:]], "line 1: 'hel lo' needs 'hel'"),
    "a bare carriage return": ([*LINES, "h e\rl l"], "line 7: "),
}


@pytest.mark.parametrize("name", BAD_MERGES)
def test_bad_merges_are_refused_with_file_and_line(tmp_path, name):
    lines, message = BAD_MERGES[name]
    write_pair(tmp_path, lines=lines)

    with pytest.raises(TokenizerError, match=message) as caught:
        load_tokenizer(tmp_path)

    assert f"{tmp_path / 'merges.txt'}: " in str(caught.value)


def test_merges_that_are_no_utf8_are_refused_with_the_byte(tmp_path):
    write_pair(tmp_path)
    (tmp_path / "merges.txt").write_bytes(b"h e\n\xff\xfe")

    with pytest.raises(TokenizerError, match=r"merges\.txt: not UTF-8 at byte 4 \(0xff\)"):
        load_tokenizer(tmp_path)


TEMPLATE = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "E"}}, {"Sequence": {"id": "A"}}],
    "special_tokens": {"E": {"id": "E", "ids": [261], "tokens": ["<|endoftext|>"]}},
}
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
OTHER_WAYS = {
    "word level": ({"model": {"type": "WordLevel", "vocab": {"a": 0}}}, "its model is 'WordLevel'"),
    "unigram": ({"model": {"type": "Unigram", "vocab": []}}, "its model is 'Unigram'"),
    "no model": ({"model": None}, "'model' is None"),
    "no vocab": ({"model": {"type": "BPE", "merges": []}}, "'vocab' is None"),
    "no merges": ({"model": {"type": "BPE", "vocab": VOCAB}}, "'merges' is None"),
    "merges of one": (tokenizer_json(merges=[["a"]]), r"merge 1 is \['a'\]"),
    "merges of three": (tokenizer_json(merges=["a b c"]), "merge 1 is 'a b c'"),
    "merges of numbers": (tokenizer_json(merges=[[1, 2]]), r"merge 1 is \[1, 2\]"),
    "unknown merge": (tokenizer_json(merges=[["x", "y"]]), "merge 1: 'x y' needs 'xy'"),
    "dropout": (tokenizer_json(dropout=0.1), "'dropout'"),
    "a negative dropout": (tokenizer_json(dropout=-1), "'dropout' to -1"),
    "a prefix": (tokenizer_json(continuing_subword_prefix="##"), "'continuing_subword_prefix'"),
    "byte fallback": (tokenizer_json(byte_fallback=True), "'byte_fallback'"),
    "a normalizer": ({"normalizer": {"type": "NFKC"}}, "normalizes text by 'NFKC'; only NFC"),
    "no pre-tokenizer": ({"pre_tokenizer": None}, "its pre-tokenizer is missing"),
    "another pre-tokenizer": ({"pre_tokenizer": {"type": "Whitespace"}}, "has a step Whitespace"),
    "no ByteLevel at the end": (
        {"pre_tokenizer": {"type": "Digits", "individual_digits": True}},
        "its pre-tokenizer is Digits; one that ends in ByteLevel",
    ),
    "ByteLevel twice": ({"pre_tokenizer": [BYTE_LEVEL, BYTE_LEVEL]}, "its pre-tokenizer is ByteLevel, ByteLevel"),
    "an unknown pattern": (
        {"pre_tokenizer": [{"type": "Split", "pattern": {"Regex": "(a*)*b"}, "behavior": "Isolated"}, BYTE_LEVEL]},
        r"a pattern that is not known here: \(a\*\)\*b",
    ),
    "no pattern": ({"pre_tokenizer": [{"type": "Split", "behavior": "Isolated"}, BYTE_LEVEL]}, "'pattern' is None"),
    "an empty pattern": (
        {"pre_tokenizer": [{"type": "Split", "pattern": {"String": ""}, "behavior": "Isolated"}, BYTE_LEVEL]},
        "'pattern' is",
    ),
    "another behavior": (
        {"pre_tokenizer": [{"type": "Split", "pattern": {"String": "a"}, "behavior": "Eaten"}, BYTE_LEVEL]},
        "'behavior' is Eaten; there are Isolated",
    ),
    "digits without their option": (
        {"pre_tokenizer": [{"type": "Digits"}, BYTE_LEVEL]},
        "'individual_digits' of Digits",
    ),
    "an unknown option": ({"pre_tokenizer": BYTE_LEVEL | {"more": 1}}, "its ByteLevel has an unknown option 'more'"),
    "an unknown option of the model": (tokenizer_json(more=1), "its BPE has an unknown option 'more'"),
    "maybe a space first": ({"pre_tokenizer": {"type": "ByteLevel", "use_regex": True}}, "add_prefix_space"),
    "sequences without end": (
        {"pre_tokenizer": json.loads('{"type": "Sequence", "pretokenizers": [' * 20 + "]}" * 20)},
        "nested too deeply",
    ),
    "unknown tokens made one": (
        {"model": {"type": "BPE", "unk_token": "a", "fuse_unk": True, "vocab": {"a": 0}, "merges": []}},
        "'fuse_unk'",
    ),
    "another decoder": ({"decoder": {"type": "WordPiece"}}, "its decoder is 'WordPiece'"),
    "a step that is no object": ({"pre_tokenizer": ["x"]}, "objects are needed"),
    "a post-processor": ({"post_processor": {"type": "BertProcessing"}}, "its post-processor is 'BertProcessing'"),
    "two templates": ({"post_processor": [TEMPLATE, TEMPLATE]}, "a template into a template"),
    "a template of nothing": ({"post_processor": {"type": "TemplateProcessing"}}, "a part None"),
    "a template without the text": (
        {"post_processor": {"type": "TemplateProcessing", "single": []}},
        "no place for the text",
    ),
    "a template with the text twice": (
        {"post_processor": {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A"}}] * 2}},
        "the text twice",
    ),
    "a template with an unknown token": (
        {"post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x"}}]}},
        "a part .*x",
    ),
    "an option that is no flag": (
        {"added_tokens": [{"content": "<x>", "id": 262, "lstrip": 1}]},
        "'lstrip' of the token",
    ),
    "added tokens of another kind": ({"added_tokens": {"a": 1}}, "a list is needed"),
    "an added token without id": ({"added_tokens": [{"content": "<x>"}]}, "has no 'content' and 'id'"),
    "an added token that is a number": ({"added_tokens": [{"content": 5, "id": 9}]}, "has no 'content' and 'id'"),
    "an added token that is no object": ({"added_tokens": ["content id"]}, "has no 'content' and 'id'"),
    "an added id that is text": ({"added_tokens": [{"content": "<x>", "id": "9"}]}, "the id of the token '<x>' is '9'"),
    "an added token of another id": ({"added_tokens": [{"content": "he", "id": 1}]}, "'he' has the id 1, but 256"),
}


@pytest.mark.parametrize("name", OTHER_WAYS)
def test_a_tokenizer_json_of_another_kind_is_refused_by_name(tmp_path, name):
    change, message = OTHER_WAYS[name]
    write_single(tmp_path, tokenizer_json() | change)

    assert has_tokenizer(tmp_path)
    with pytest.raises(TokenizerError, match=message) as caught:
        load_tokenizer(tmp_path)

    assert f"{tmp_path / 'tokenizer.json'}: " in str(caught.value)


def test_a_tokenizer_of_another_kind_can_be_told_from_a_broken_one(tmp_path):
    write_single(tmp_path, {"model": {"type": "WordLevel", "vocab": {"a": 0}}})
    with pytest.raises(UnsupportedTokenizerError):
        load_tokenizer(tmp_path)

    write_single(tmp_path, tokenizer_json(merges=[["a"]]))
    with pytest.raises(TokenizerError) as caught:
        load_tokenizer(tmp_path)
    assert not isinstance(caught.value, UnsupportedTokenizerError)


def test_ignore_merges_is_honoured(tmp_path):
    content = tokenizer_json(ignore_merges=True, merges=[["h", "e"]], vocab=VOCAB)

    tokenizer = load_tokenizer(write_single(tmp_path, content))

    assert tokenizer.encode(" hell") == [259]
    assert tokenizer.encode(" hello") != [259, 78]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path):
    write_pair(tmp_path)
    (tmp_path / "merges.txt").unlink()
    os.mkfifo(tmp_path / "merges.txt")

    with pytest.raises(TokenizerError, match=r"merges\.txt: is a pipe"):
        load_tokenizer(tmp_path)

    (tmp_path / "vocab.json").unlink()
    (tmp_path / "vocab.json").mkdir()
    with pytest.raises(TokenizerError, match=r"vocab\.json: is a directory"):
        load_tokenizer(tmp_path)


def test_a_file_that_is_too_large_is_refused_unread(tmp_path, monkeypatch):
    write_pair(tmp_path)
    monkeypatch.setattr("arrayformer.tokenizer.table.MAX_TABLE", 1000)

    with pytest.raises(TokenizerError, match=r"vocab\.json: \d+ bytes; at most 1000 are read"):
        load_tokenizer(tmp_path)


def test_too_many_entries_are_refused(monkeypatch):
    monkeypatch.setattr("arrayformer.tokenizer.table.MAX_VOCAB", 100)

    with pytest.raises(TokenizerError, match="262 entries; at most 100"):
        Tokenizer(VOCAB, MERGES)


def test_a_link_out_of_the_directory_is_refused_and_one_into_the_same_cache_is_followed(tmp_path):
    blobs, snapshot = tmp_path / "model" / "blobs", tmp_path / "model" / "snapshots" / "abc"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    write_pair(blobs)
    for name in ("vocab.json", "merges.txt"):
        (snapshot / name).symlink_to(blobs / name)
    check(load_tokenizer(snapshot))

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "vocab.json").symlink_to(blobs / "vocab.json")
    (elsewhere / "merges.txt").symlink_to(blobs / "merges.txt")

    with pytest.raises(TokenizerError, match=re.escape(f"{elsewhere / 'vocab.json'}: is a link that leads out")):
        load_tokenizer(elsewhere)


def test_special_tokens_may_stand_in_the_vocabulary_or_beside_it():
    ordinary = {token: id for token, id in VOCAB.items() if token != "<|endoftext|>"}
    special = {"<|endoftext|>": VOCAB["<|endoftext|>"]}

    for vocab in (VOCAB, ordinary):
        check(Tokenizer(vocab, MERGES, special))
