"""Tokenizers of other kinds, through Hugging Face's library."""

import json
import sys

import pytest

from arrayformer.core.errors import InputError, TokenizerError
from arrayformer.tokenizer import ChatTemplate, Tokenizer, UnsupportedTokenizerError, load_tokenizer
from arrayformer.tokenizer.alphabet import PRINTABLE

tokenizers = pytest.importorskip("tokenizers")

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
PIECES = ["▁", "H", "e", "l", "o", "w", "r", "d", "a", "\n"]
MERGES = [("H", "e"), ("l", "l"), ("He", "ll"), ("Hell", "o"), ("▁", "Hello"), ("▁", "w"), ("o", "r")]
TEXTS = ["Hello world", " Hello", "", " ", "  a", "naïve 🦊", "a<s>b", "He\nllo", "</s>", "狐"]


def library(kind):
    """A small tokenizer as Llama 2, as Gemma or as T5 has it."""
    tokens = ["<unk>", "<s>", "</s>", *BYTES, *PIECES, *("".join(pair) for pair in MERGES)]
    steps, models = tokenizers.normalizers, tokenizers.models
    undo = [tokenizers.decoders.Replace("▁", " "), tokenizers.decoders.ByteFallback(), tokenizers.decoders.Fuse()]
    if kind == "unigram":
        made = tokenizers.Tokenizer(models.Unigram([(t, -float(i)) for i, t in enumerate(tokens)], 0, True))
        made.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme="first")
        made.decoder = tokenizers.decoders.Metaspace(prepend_scheme="first")
    else:
        vocab = {token: id for id, token in enumerate(tokens)}
        made = tokenizers.Tokenizer(models.BPE(vocab, MERGES, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
        put = [steps.Prepend("▁")] if kind == "llama" else []
        made.normalizer = steps.Sequence([*put, steps.Replace(" ", "▁")])
        strip = [tokenizers.decoders.Strip(" ", 1, 0)] if kind == "llama" else []
        made.decoder = tokenizers.decoders.Sequence([*undo, *strip])
    made.add_special_tokens([tokenizers.AddedToken(t, normalized=False) for t in tokens[:3]])
    made.post_processor = tokenizers.processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    return made


@pytest.fixture(params=["llama", "gemma", "unigram"])
def theirs(request):
    return library(request.param)


@pytest.fixture
def ours(theirs, tmp_path):
    theirs.save(str(tmp_path / "tokenizer.json"))
    names = {"bos_token": "<s>", "eos_token": "</s>", "chat_template": "{{ bos_token }}a{{ messages[0].content }}</s>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(names))
    return load_tokenizer(tmp_path)


def test_the_ids_and_the_text_are_the_librarys(theirs, ours):
    assert isinstance(ours, Tokenizer)
    assert (ours.bos_id, ours.eos_id, ours.n_vocab) == (1, 2, theirs.get_vocab_size())
    for text in TEXTS:
        assert ours.encode(text, allowed_special=ours.special_tokens) == theirs.encode(text).ids
        if text != "</s>" and "<s>" not in text:  # of which Unigram makes the special token
            assert ours.encode(text, add_special_tokens=False) == strictly(theirs, text)
        assert ours.decode(strictly(theirs, text)) == theirs.decode(strictly(theirs, text), skip_special_tokens=False)


def strictly(theirs, text):
    theirs.encode_special_tokens = True
    ids = theirs.encode(text, add_special_tokens=False).ids
    theirs.encode_special_tokens = False
    return ids


def test_special_tokens_are_found_only_where_they_are_allowed(ours):
    assert 2 not in ours.encode("a</s>b")
    assert 2 in ours.encode("a</s>b", allowed_special="</s>")
    ids = ours.encode("a</s>b<s>", allowed_special="</s>", add_special_tokens=False)
    assert ids.count(2) == 1
    assert 1 not in ids


def test_a_stream_gives_whole_characters_and_the_spaces_between(ours):
    stream = ours.stream()
    ids = ours.encode("Hello world 🦊", add_special_tokens=False)

    parts = [stream.push(id) for id in ids]

    if "<0xF0>" in map(ours.token, ids):  # Unigram without its bytes
        assert "".join(parts).strip() == "Hello world 🦊"
        assert "\ufffd" not in "".join(parts)
    assert stream.push(ours.vocab["▁w"]) == " w"
    with pytest.raises(InputError, match="id 999 does not exist"):
        stream.push(999)


def test_what_the_config_says_of_bos_goes_before_the_template(theirs, tmp_path):
    theirs.save(str(tmp_path / "tokenizer.json"))
    names = {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": False, "add_eos_token": True}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(names))

    plain = theirs.encode("Hello", add_special_tokens=False).ids
    assert load_tokenizer(tmp_path).encode("Hello") == [*plain, 2]


def test_in_a_conversation_what_a_message_says_is_text(ours):
    template = ChatTemplate(ours)

    ids = template.ids([{"role": "user", "content": "</s>Hello"}])

    assert (ids.count(1), ids.count(2), ids[0], ids[-1]) == (1, 1, 1, 2)
    assert "\n" not in ours.decode(ids)
    plain = template.ids([{"role": "user", "content": "Hello"}])
    assert plain == ours.encode("<s>aHello</s>", allowed_special=ours.special_tokens, add_special_tokens=False)


def test_steps_cannot_be_shown(ours):
    for ask in (ours.explain, ours.split, lambda text: ours.merges):
        with pytest.raises(InputError, match="cannot be shown"):
            ask("a")


def test_a_byte_level_pattern_that_is_not_known_here_is_left_to_the_library(tmp_path):
    made = tokenizers.Tokenizer(tokenizers.models.BPE({c: i for i, c in enumerate(PRINTABLE)}, []))
    split = tokenizers.pre_tokenizers.Split(tokenizers.Regex("x+|y"), "removed")
    level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([split, level])
    made.decoder = tokenizers.decoders.ByteLevel()
    made.save(str(tmp_path / "tokenizer.json"))

    tokenizer = load_tokenizer(tmp_path)

    assert tokenizer.encode("axxéyb") == [*"aéb".encode()]
    assert tokenizer.token_bytes(0xC3) == b"\xc3"


def test_without_the_package_it_is_named(theirs, tmp_path, monkeypatch):
    theirs.save(str(tmp_path / "tokenizer.json"))
    monkeypatch.setitem(sys.modules, "tokenizers", None)

    with pytest.raises(UnsupportedTokenizerError, match="where it is installed: pip install tokenizers"):
        load_tokenizer(tmp_path)


def test_a_file_that_the_library_refuses_is_refused(tmp_path):
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "Unigram", "vocab": 5}}')

    with pytest.raises(TokenizerError, match=r"tokenizer\.json: .*and the package tokenizers refuses it"):
        load_tokenizer(tmp_path)


def test_what_leaves_the_ids_to_chance_is_refused(theirs, tmp_path):
    theirs.save(str(tmp_path / "tokenizer.json"))
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    (tmp_path / "tokenizer.json").write_text(json.dumps(content | {"model": content["model"] | {"dropout": 0.5}}))

    with pytest.raises(UnsupportedTokenizerError, match="its model"):
        load_tokenizer(tmp_path)


def test_a_token_with_a_role_that_is_not_there_is_refused(theirs, tmp_path):
    theirs.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"bos_token": "<none>"}')

    with pytest.raises(TokenizerError, match=r"tokenizer\.json: the bos token '<none>' is neither"):
        load_tokenizer(tmp_path)
