"""What a caller may pass, and what is refused with which words."""

import math
import os
import subprocess
import sys
from dataclasses import fields, replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from tests.models import bytes_tokenizer, tiny

import arrayformer
from arrayformer.api import Model
from arrayformer.backends.numpy.backend import NumpyBackend
from arrayformer.core.engine import Engine
from arrayformer.core.errors import BackendError, BackendNotFoundError, InputError, ModelFileError
from arrayformer.core.generate.options import Ending, Options, Sampling
from arrayformer.core.params import random_params

CONFIG = tiny(n_ctx=16, n_embd=8, n_layer=1)


@pytest.fixture(scope="module")
def model():
    return Model(CONFIG, Engine(CONFIG, random_params(CONFIG.weights(), gain=0.3), NumpyBackend()), bytes_tokenizer())


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        ("", "the prompt is empty.*one id to start from.*256"),
        ([], "no ids"),
        ([-1], "id -1 at place 0 does not exist.*0 to 256"),
        ([1, 257], "id 257 at place 1 does not exist"),
        ([-258], "id -258"),
        ([1, 2.0], "id 2.0 at place 1 is of type float"),
        ([True], "of type bool"),
        ([None], "of type NoneType"),
        ([1, "a"], "id 'a' at place 1 is of type str"),
        ([1, [2]], "of type list"),
        (np.array([1.5]), "of type float64"),
        (np.array([None], dtype=object), "of type NoneType"),
        (None, "of type NoneType; pass text or a list of ids"),
        (3, "of type int"),
        (b"abc", "of type bytes"),
        ([10**5000], "thousands of digits"),
        ("a\ud83d", "lone surrogate"),
        (list(range(17)), "17 ids and this model's context is 16"),
        ("x" * 17, "17 ids and this model's context is 16"),
    ],
)
def test_a_prompt_that_is_none_is_refused(model, prompt, says):
    with pytest.raises(InputError, match=says):
        model.generate(prompt)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        *(({"max_new_tokens": n}, "max_new_tokens is") for n in (-1, 10**12, "5", 1.5, True)),
        *(({"temperature": t}, "temperature is") for t in (-1, math.nan, math.inf, 1e308, "x", None, True, 10**400)),
        *(({"top_k": k}, "top_k is") for k in (0, -1, 1.0, "3", True)),
        *(({"top_p": p}, "top_p is") for p in (0, -0.1, 1.1, math.nan, "0.9")),
        *(({"min_p": p}, "min_p is") for p in (-0.1, 1.1, math.nan)),
        *(({"repetition_penalty": p}, "repetition_penalty is") for p in (0, -1, 1e9, math.nan, None)),
        *(({"seed": s}, "seed is") for s in (-1, 2**64, 2**128, 1.0, None, "1", True)),
        *(({"logprobs": n}, "logprobs is") for n in (-1, 1001, 1.5)),
        ({"stop": ""}, "0 characters"),
        ({"stop": ["a", ""]}, "0 characters"),
        ({"stop": ["a"] * 10_000}, "10000 stop strings"),
        ({"stop": "x" * 1_000_000}, "1000000 characters"),
        ({"stop": [1]}, "stop is"),
        ({"stop": None}, "stop is None"),
        ({"on_full": "wrap"}, "on_full is 'wrap'"),
        ({"on_full": "slide"}, "say max_new_tokens"),
        ({"max_new_tokens": 15}, "a prompt of 2 ids and 15 new ones make 17.*context is 16: ask for 14"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_an_option_that_makes_no_sense_is_refused(model, options, says):
    with pytest.raises(InputError, match=says):
        model.generate([1, 2], **options)


NUMBERS = [np.int64(2), np.uint8(2), np.array(2)]


@pytest.mark.parametrize("number", NUMBERS, ids=repr)
def test_an_integer_of_any_library_is_one(model, number):
    options = {"max_new_tokens": number, "top_k": number, "seed": number, "logprobs": number, "ignore_eos": True}

    written = model.generate("a", temperature=0.9, batch_size=number, **options)

    assert len(written.ids) == 2
    assert written == model.generate(
        "a", temperature=0.9, max_new_tokens=2, top_k=2, seed=2, logprobs=2, ignore_eos=True
    )  # fmt: skip


@pytest.mark.parametrize("number", [np.float32(0.5), np.float64(0.5), np.array(0.5), Fraction(1, 2), Decimal("0.5")])
def test_a_number_of_any_library_is_one(model, number):
    options = {"temperature": number, "top_p": number, "min_p": number, "repetition_penalty": number}

    assert Sampling(**options) == Sampling(0.5, top_p=0.5, min_p=0.5, repetition_penalty=0.5)
    assert {type(getattr(Sampling(**options), name)) for name in options} == {float}
    assert len(model.generate("a", max_new_tokens=2, ignore_eos=True, **options).ids) == 2


@pytest.mark.parametrize("value", [np.True_, np.array([1]), np.array([[0.5]]), "0.5", b"1", 1j, np.complex64(1), [1]])
def test_what_is_no_number_is_refused_everywhere(model, value):
    for name in ("max_new_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed", "logprobs"):
        with pytest.raises(InputError, match=f"{name} is"):
            model.generate("a", **{name: value})


@pytest.mark.parametrize("method", ["generate", "stream", "stream_ids", "as_completed"])
def test_a_misspelt_option_names_the_method_that_was_called_and_what_was_meant(model, method):
    with pytest.raises(TypeError, match=rf"^Model\.{method}\(\) got .* 'temprature'\. Did you mean 'temperature'\?$"):
        getattr(model, method)(["a"], temprature=1.0)


def test_a_type_checker_knows_the_options(tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "snippet.py").write_text(
        "from arrayformer import Model\n"
        "def write(model: Model) -> None:\n"
        "    model.generate('a', temperature=0.5, stop=['b'])\n"
        "    model.generate('a', temprature=0.5)\n"
        "    model.stream('a', on_full='wrap')\n"
        "    model.as_completed(iter(['a']), top_k='3')\n"
    )
    source = str(Path(arrayformer.__file__).parents[1])

    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--follow-imports=silent", "--cache-dir", str(tmp_path), "snippet.py"],
        capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"MYPYPATH": source}, check=False,
    )  # fmt: skip

    assert sorted({line.split(":")[1] for line in done.stdout.splitlines() if ": error: " in line}) == ["4", "5", "6"]
    assert "temprature" in done.stdout


def test_each_option_has_one_name_in_all_places():
    checked = [field.name for kind in (Sampling, Ending) for field in fields(kind)]

    assert sorted(checked) == sorted(Options.__annotations__)


def test_prompts_of_an_iterator_are_taken_when_there_is_room_for_them(model):
    taken = []

    def prompts():
        for i in range(1000):
            taken.append(i)
            yield [i % 200, 1]

    written = model.as_completed(prompts(), batch_size=3, max_new_tokens=2, ignore_eos=True)
    first = [next(written) for _ in range(4)]

    assert len(taken) <= 8
    assert sorted(number for number, _ in first) == [0, 1, 2, 3]
    assert first[0][1] == model.generate([0, 1], max_new_tokens=2, ignore_eos=True)


def test_a_longer_prompt_of_an_iterator_waits_for_a_larger_context(model):
    prompts = [[1], [2, 3], list(range(9)), [4], list(range(14)), [5, 6]]
    options = {"max_new_tokens": 2, "temperature": 1.0, "ignore_eos": True}

    written = sorted(model.as_completed(iter(prompts), batch_size=2, **options), key=lambda pair: pair[0])

    assert [generation for _, generation in written] == [model.generate(prompt, **options) for prompt in prompts]


def test_one_prompt_is_no_list_of_prompts(model):
    with pytest.raises(InputError, match="pass a list"):
        model.as_completed("abc")


def test_a_stream_says_what_was_written_and_can_be_ended(model):
    stream = model.stream("Hello", max_new_tokens=8, stop="\uffff", ignore_eos=True)
    before = stream.generation
    pieces = [next(stream)]
    stream.interrupt()
    pieces += stream

    assert (before.text, before.finish_reason) == ("", "")
    assert stream.generation.finish_reason == "interrupted"
    assert stream.generation.text == "".join(pieces)
    assert 0 < len(stream.generation.ids) < 8
    assert list(model.stream_ids("Hello", max_new_tokens=8, ignore_eos=True))[: len(pieces)] == stream.generation.ids


def test_errors_in_options_come_before_the_first_piece_is_asked_for(model):
    with pytest.raises(InputError):
        model.stream("a", temperature=-1)


def test_integers_of_any_kind_are_ids(model):
    wanted = model.generate([1, 2, 3], max_new_tokens=3).ids

    for ids in (np.array([1, 2, 3], dtype=np.uint64), (1, 2, 3), [np.int8(1), np.int16(2), 3], range(1, 4)):
        assert model.generate(ids, max_new_tokens=3).ids == wanted


def test_a_prompt_is_not_changed(model):
    prompt = [1, 2, 3]

    model.generate(prompt, max_new_tokens=3)

    assert prompt == [1, 2, 3]


@pytest.mark.parametrize(
    ("length", "options", "n", "reason"),
    [
        (16, {"max_new_tokens": 0}, 0, "length"),
        (16, {}, 0, "context"),
        (15, {"max_new_tokens": 1}, 1, "length"),
        (15, {}, 1, "context"),
        (16, {"max_new_tokens": 5, "on_full": "stop"}, 0, "context"),
        (16, {"max_new_tokens": 5, "on_full": "slide"}, 5, "length"),
        (40, {"max_new_tokens": 20, "on_full": "slide"}, 20, "length"),
    ],
)
def test_a_prompt_may_fill_the_context(model, length, options, n, reason):
    written = model.generate([1] * length, ignore_eos=True, **options)

    assert (len(written.ids), written.finish_reason) == (n, reason)


def test_a_list_of_prompts_gives_a_list(model):
    single = model.generate("ab", max_new_tokens=2)
    several = model.generate(["ab", [1, 2]], max_new_tokens=2)

    assert several[0] == single
    assert [g.prompt_ids for g in several] == [model.ids("ab"), [1, 2]]


def test_texts_come_as_soon_as_each_has_ended(model):
    prompts = ["abc", "x" * 16, [1, 2], "y"]
    options = {"max_new_tokens": 5, "on_full": "stop", "batch_size": 2, "stop": "\n"}

    written = list(model.as_completed(prompts, **options))

    assert written[0][0] == 1  # its context is full from the start
    assert [text for _, text in sorted(written, key=lambda pair: pair[0])] == model.generate(prompts, **options)


def test_a_score_is_the_log_softmax_of_the_logits(model):
    ids = model.ids("The quick brown")

    logits = model.logits(ids).astype(np.float64)
    probs = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    wanted = np.log(probs[np.arange(len(ids) - 1), ids[1:]])
    np.testing.assert_allclose(model.score("The quick brown"), wanted, atol=1e-5)
    assert model.score([5]).shape == (0,)
    assert logits.shape == (len(ids), 257)


def test_without_a_tokenizer_a_model_takes_ids_alone():
    model = Model(CONFIG, Engine(CONFIG, random_params(CONFIG.weights()), NumpyBackend()))

    assert len(model.generate([1], max_new_tokens=3, ignore_eos=True).ids) == 3
    for refused in (lambda: model.generate("a"), lambda: model.stream([1]), lambda: model.generate([1], stop="a")):
        with pytest.raises(InputError, match="no tokenizer"):
            refused()


def test_a_tokenizer_of_another_model_is_refused(model):
    small = tiny(n_vocab=100)

    with pytest.raises(ModelFileError, match="257 ids, but the config's n_vocab is 100 and wte has 100 rows"):
        Model(small, Engine(small, random_params(small.weights()), NumpyBackend()), model.tokenizer)


def test_ids_that_only_the_model_has_are_written_as_the_replacement_character(model):
    config = replace(CONFIG, n_vocab=300)
    params = random_params(config.weights(), gain=0.0)
    params["wte"][280] = 1.0
    params["ln_f"]["b"][:] = 1.0

    with pytest.warns(UserWarning, match="257 ids and the model 300: those from 257 on have no text"):
        padded = Model(config, Engine(config, params, NumpyBackend()), model.tokenizer)
    written = padded.generate("a", max_new_tokens=3)

    assert (written.ids, written.text) == ([280] * 3, "\ufffd" * 3)
    assert "".join(padded.stream("a", max_new_tokens=3)) == "\ufffd" * 3


def test_the_prompt_that_is_wrong_is_named(model):
    with pytest.raises(InputError, match=r"^prompt 2 of 3: id 999 at place 1"):
        model.generate(["a", [1, 999], "b"])


def test_several_ids_may_end_a_text(model):
    config = replace(CONFIG, eos_token_id=(3, 5))

    assert Model(config, model.engine, model.tokenizer).eos_ids() == {3, 5, 256}


def test_memory_that_is_not_there_is_an_error_and_the_model_lives_on(model, monkeypatch):
    def no_memory(shape):
        raise MemoryError(f"cannot allocate {shape}")

    with monkeypatch.context() as patch:
        patch.setattr(model.backend, "zeros", no_memory, raising=False)
        with pytest.raises(BackendError, match="out of memory for the keys and values of 1 rows of 5 ids"):
            model.generate([1, 2], max_new_tokens=3)

    assert len(model.generate([1, 2], max_new_tokens=3, ignore_eos=True).ids) == 3


def test_a_checkpoint_is_loaded_from_a_directory(tmp_path):
    params = random_params(CONFIG.weights(), seed=3)
    arrayformer.save_checkpoint(tmp_path / "tiny", CONFIG, params)

    model = arrayformer.load(tmp_path / "tiny", offline=True)

    wanted = Engine(CONFIG, params, NumpyBackend()).logits([1, 2, 3])
    np.testing.assert_array_equal(model.logits([1, 2, 3]), wanted)
    assert model.tokenizer is None
    assert model.config.eos_token_id == 256


def test_what_is_not_there_cannot_be_loaded(tmp_path):
    with pytest.raises(ModelFileError):
        arrayformer.load(tmp_path)
    with pytest.raises(BackendNotFoundError, match="no backend named 'nonesuch'"):
        arrayformer.load(backend="nonesuch")


def test_importing_the_package_imports_no_array_library():
    heavy = ("numpy", "jax", "torch", "huggingface_hub", "rich", "click", "regex")
    code = f"import sys, arrayformer; dir(arrayformer); print([m for m in {heavy} if m in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", [name for name in arrayformer.__all__ if name != "__version__"])
def test_each_public_name_can_be_had(name):
    assert getattr(arrayformer, name).__doc__


def test_a_name_that_is_not_public_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonesuch'"):
        arrayformer.nonesuch  # noqa: B018


def test_many_texts_leave_nothing_behind(model):
    import gc
    import tracemalloc

    def write(n):
        for i in range(n):
            model.generate([1, 2], max_new_tokens=2, temperature=0.9, seed=i, ignore_eos=True)
        gc.collect()

    tracemalloc.start()
    write(200)
    before, _ = tracemalloc.get_traced_memory()
    write(1000)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    # NumPy keeps some tens of kilobytes of small blocks for reuse. One array kept for each text would be more.
    assert after - before < 100_000


def test_a_model_with_a_tokenizer_of_another_kind_loads_and_takes_ids(tmp_path):
    arrayformer.save_checkpoint(tmp_path, CONFIG, random_params(CONFIG.weights()))
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}')

    with pytest.warns(UserWarning, match="WordLevel.*takes ids"):
        model = arrayformer.load(tmp_path)

    assert model.tokenizer is None
    assert len(model.generate([1, 2], max_new_tokens=3, ignore_eos=True).ids) == 3
