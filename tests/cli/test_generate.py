"""`generate`: what it writes, and the many ways to say the same."""

import json
import shutil

import pytest

import arrayformer


def test_only_the_new_text_goes_out(generate, directory):
    code, out, err = generate("Hello", "-n", 8)

    wanted = arrayformer.load(directory).generate("Hello", max_new_tokens=8, ignore_eos=True).text
    assert (code, out, err) == (0, wanted + "\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ("Hello", "-n", 8), ("--prompt", "Hello", "--max-tokens", 8), ("-p", "Hello", "--n_tokens_to_generate", 8),
        ("Hello", "-n", 8, "--speculate"), ("Hello", "-n", 8, "--backend", "numpy", "--dtype", "float32"),
        ("Hello", "-n", 8, "--temperature", "1e-7"), ("Hello", "-n", 8, "--top-k", 5), ("-n", 8, "--", "Hello"),
        ("--ids", "72 101 108 108 111", "-n", 8), ("--ids", "[72, 101, 108, 108, 111]", "-n", 8),
    ],
    ids=str,
)  # fmt: skip
def test_the_same_said_in_another_way_writes_the_same(generate, arguments):
    plain = generate("Hello", "-n", "8")
    assert plain[0] == 0
    assert generate(*arguments) == plain


@pytest.mark.parametrize("stdin", [b"Hello", b"Hello\n", b"Hello\r\n", b"\xef\xbb\xbfHello\n"])
def test_a_dash_reads_standard_input_without_its_line_break(generate, stdin):
    assert generate("-", "-n", 8, stdin=stdin) == generate("Hello", "-n", 8)


def test_picogpts_flags_work(run, generate, directory, tmp_path):
    shutil.copytree(directory, tmp_path / "124M")
    where = ("--model_size", "124M", "--models_dir", tmp_path)

    written = run("generate", "Hello", "--n_tokens_to_generate", 4, *where, "--offline", "--ignore-eos")

    assert written == generate("Hello", "-n", 4)


def test_a_seed_says_it_all(generate):
    first = generate("Hello", "-n", 12, "--temperature", 1.2, "--seed", 5)

    assert generate("Hello", "-n", 12, "--temperature", 1.2, "--seed", 5) == first
    assert generate("Hello", "-n", 12, "--temperature", 1.2, "--seed", 6) != first


def test_echo_prints_the_prompt_too(generate):
    assert generate("Hello", "-n", 4, "--echo")[1] == "Hello" + generate("Hello", "-n", 4)[1]


def test_without_a_length_the_text_ends_where_the_context_does(generate):
    code, out, _ = generate("Hello", "--json")

    written = json.loads(out)
    assert code == 0
    assert written["finish_reason"] == "context"
    assert len(written["prompt_ids"]) + len(written["ids"]) == 64


def test_json_holds_what_python_gives(generate, directory):
    code, out, _ = generate("Hello", "-n", 5, "--json", "--logprobs", 2)

    wanted = arrayformer.load(directory).generate("Hello", max_new_tokens=5, logprobs=2, ignore_eos=True)
    found = json.loads(out)
    assert code == 0
    assert (found["text"], found["ids"], found["index"]) == (wanted.text, wanted.ids, 0)
    assert found["logprobs"] == pytest.approx(wanted.logprobs)
    assert [id for id, _ in found["top_logprobs"][0]] == [id for id, _ in wanted.top_logprobs[0]]
