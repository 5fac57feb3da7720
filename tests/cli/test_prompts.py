"""Prompts in files, and what is said of those that are none."""

import json

import pytest


@pytest.mark.parametrize("size", [1, 2, 16])
def test_a_file_of_prompts_is_written_in_its_order(generate, tmp_path, size):
    prompts = ["Hello", "a", "The quick brown fox", "x"]
    (tmp_path / "prompts.txt").write_text("\n".join(prompts) + "\n\n")

    code, out, _ = generate("--batch-file", tmp_path / "prompts.txt", "-n", 6, "--json", "--batch-size", size)

    texts = [generate(prompt, "-n", 6)[1] for prompt in prompts]
    assert code == 0
    assert [json.loads(line)["text"] + "\n" for line in out.splitlines()] == texts
    plain = generate("--batch-file", tmp_path / "prompts.txt", "-n", 6, "--batch-size", size)[1]
    assert plain == "".join(f"==> {i} <==\n{text}" for i, text in enumerate(texts, 1))


def test_a_file_of_json_lines_holds_text_or_ids(generate, tmp_path):
    (tmp_path / "p.jsonl").write_text('"Hello"\n{"prompt": "Hello"}\n[72, 101, 108, 108, 111]\n')

    _, out, _ = generate("--batch-file", tmp_path / "p.jsonl", "-n", 4, "--json")

    assert len({json.loads(line)["text"] for line in out.splitlines()}) == 1
    assert len(out.splitlines()) == 3


BAD_LINES = {
    "no JSON": (b'"a"\nb\n', "line 2: not JSON"),
    "NaN": (b"NaN\n", "line 1: NaN is not a JSON number"),
    "a key twice": (b'{"prompt": "a", "prompt": "b"}', "the key 'prompt' stands there twice"),
    "nested": (b"[" * 100_000, "nested too deeply"),
    "digits": (b"[" + b"1" * 5000 + b"]", "a number of 5000 digits"),
    "no prompt": (b'{"text": "a"}', 'needed is a string, a list of ids, or an object with "prompt"'),
    "a float": (b'"a"\n[1, 2.0]', "prompt 2: id 2.0 at place 1"),
    "half a pair": (b'"a"\n"b"\n"\\ud83d"', "prompt 3: the text has a lone surrogate"),
}


@pytest.mark.parametrize(("content", "says"), BAD_LINES.values(), ids=BAD_LINES)
def test_a_line_that_is_no_prompt_is_named(generate, tmp_path, content, says):
    (tmp_path / "p.jsonl").write_bytes(content)

    code, out, err = generate("--batch-file", tmp_path / "p.jsonl", "-n", 2)

    assert (code, out) == (2, "")
    assert says in err


@pytest.mark.parametrize("name", ["p.txt", "p.jsonl"])
def test_only_a_line_feed_ends_a_line(generate, tmp_path, name):
    prompts = ["a\u2028b", "c\x0b\x0cd\x85", "e"]
    lines = prompts if name == "p.txt" else [json.dumps(prompt, ensure_ascii=False) for prompt in prompts]
    (tmp_path / name).write_text("\r\n".join(lines), encoding="utf-8", newline="")

    _, out, _ = generate("--batch-file", tmp_path / name, "-n", 2, "--json")

    ids = [json.loads(line)["prompt_ids"] for line in out.split("\n") if line]
    assert [bytes(row).decode() for row in ids] == prompts


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "says"),
    [
        ((), b"", 2, "no prompt"),
        (("a", "-p", "b"), b"", 2, "more than one prompt"),
        (("",), b"", 2, "the prompt is empty"),
        (("-",), b"", 2, "the prompt is empty"),
        (("-",), b"ab\xff", 2, "standard input: byte 2 (0xff) is not UTF-8"),
        (("-",), b"x" * ((1 << 24) + 1), 2, "more than 16777216 bytes"),
        (("a\udcff",), b"", 2, "lone surrogate"),
        (("a", "--temperature", "-1"), b"", 2, "temperature is -1.0"),
        (("a", "--temperature", "nan"), b"", 2, "temperature is nan"),
        (("a", "--temperature", "x"), b"", 2, "not a valid float"),
        (("a", "--max-tokens", "1.5"), b"", 2, "not a valid int"),
        (("a", "--max-tokens", "-1"), b"", 2, "max_new_tokens is -1"),
        (("a", "--max-tokens", "1000000000000"), b"", 2, "max_new_tokens is 1000000000000"),
        (("a", "--max-tokens", "64"), b"", 2, "ask for 63"),
        (("a", "--seed", "-1"), b"", 2, "seed is -1"),
        (("a", "--stop", ""), b"", 2, "0 characters"),
        (("a", "--stop", "\udcff"), b"", 2, "lone surrogate"),
        (("a", "-m", ""), b"", 3, "no model ''"),
        (("a", "--logprobs", "1"), b"", 2, "--logprobs needs --json"),
        (("a", "--on-full", "wrap"), b"", 2, "'wrap' is not one of"),
        (("a", "-n", "5", "--speculate", "--repetition-penalty", "2"), b"", 2, "exclude"),
        (("--ids", "1 x"), b"", 2, "'x' is no id"),
        (("--ids", "1 258"), b"", 2, "id 258 at place 1"),
        (("--batch-file", "/nonesuch"), b"", 3, "/nonesuch: No such file"),
        (("--batch-file", "/dev/null"), b"", 2, "no regular file"),
        (("--batch-file", "-"), b"\n\n", 2, "no prompt in this file"),
        (("a", "--backend", "nonesuch"), b"", 4, "no backend named 'nonesuch'"),
        (("a", "--device", "cuda:7"), b"", 4, "has no device 'cuda:7'"),
        (("a", "--mesh", "data=2"), b"", 4, "takes no option 'mesh'"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_cannot_be_done_is_said_in_one_line(generate, arguments, stdin, code, says):
    found, out, err = generate(*arguments, stdin=stdin)

    assert (found, out) == (code, "")
    assert says in err
    assert "Traceback" not in err
