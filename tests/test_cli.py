"""The command line: what goes to which stream, and which code it ends with."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

import arrayformer
from arrayformer import cli
from arrayformer.core.errors import ArrayformerError
from arrayformer.core.models.gpt2 import GPT2Config
from arrayformer.core.params import random_params
from arrayformer.tokenizer.alphabet import PRINTABLE

CONFIG = GPT2Config(n_vocab=258, n_ctx=64, n_embd=16, n_head=2, n_layer=1, eos_token_id=257)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A tiny model with a tokenizer of bytes, as files."""
    path = tmp_path_factory.mktemp("models") / "tiny"
    vocab = {character: id for id, character in enumerate(PRINTABLE)} | {"qq": 256, "<|endoftext|>": 257}
    files = {"vocab.json": json.dumps(vocab).encode(), "merges.txt": b"#version: 0.2\nq q\n"}
    arrayformer.save_checkpoint(path, CONFIG, random_params(CONFIG, seed=1, gain=0.3), tokenizer_files=files)
    return str(path)


@pytest.fixture
def run(capsys, monkeypatch):
    """run(*arguments, stdin=b""): the exit code, and what went to the two streams."""

    def call(*arguments, stdin=b""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = cli.main([str(a) for a in arguments])
        return (code, *capsys.readouterr())

    return call


@pytest.fixture
def generate(run, directory):
    def call(*arguments, stdin=b""):
        return run("generate", "-m", directory, "--offline", "--ignore-eos", *arguments, stdin=stdin)

    return call


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
    assert len(written["prompt_ids"]) + len(written["ids"]) == CONFIG.n_ctx


def test_json_holds_what_python_gives(generate, directory):
    code, out, _ = generate("Hello", "-n", 5, "--json", "--logprobs", 2)

    wanted = arrayformer.load(directory).generate("Hello", max_new_tokens=5, logprobs=2, ignore_eos=True)
    found = json.loads(out)
    assert code == 0
    assert (found["text"], found["ids"], found["index"]) == (wanted.text, wanted.ids, 0)
    assert found["logprobs"] == pytest.approx(wanted.logprobs)
    assert [id for id, _ in found["top_logprobs"][0]] == [id for id, _ in wanted.top_logprobs[0]]


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


def test_a_model_that_is_not_there_is_a_file_error(run, tmp_path):
    code, _, err = run("generate", "a", "-m", tmp_path)

    assert code == 3
    assert str(tmp_path) in err


def test_control_characters_in_an_error_are_shown_not_obeyed(generate):
    _, _, err = generate("a", "--backend", "x\x1b[2J\ny")

    assert "\x1b" not in err


def test_debug_keeps_the_traceback(generate):
    with pytest.raises(ArrayformerError):
        generate("a", "--seed", "-1", "--debug")


def test_a_bug_is_not_dressed_up_as_an_error_of_the_users(run, monkeypatch):
    monkeypatch.setattr("arrayformer.commands.writing.write_one", lambda *_: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        run("generate", "a")


@pytest.mark.parametrize(
    ("arguments", "stdin", "wanted"),
    [
        (("Hello, world",), b"", "15496 11 995\n"),
        (("Hello,", "world"), b"", "15496 11 995\n"),
        (("-",), b"Hello, world", "15496 11 995\n"),
        (("--decode", "15496 11 995"), b"", "Hello, world\n"),
        (("--decode", "15496", "11", "995"), b"", "Hello, world\n"),
        (("--decode", "-"), b"[15496, 11, 995]\n", "Hello, world\n"),
        (("<|endoftext|>", "--special"), b"", "50256\n"),
        (("Hello", "--json"), b"", '{"ids": [15496], "tokens": ["Hello"]}\n'),
    ],
)
def test_tokenize_goes_both_ways(run, arguments, stdin, wanted):
    assert run("tokenize", *arguments, stdin=stdin) == (0, wanted, "")


def test_tokenize_explains(run):
    code, out, _ = run("tokenize", "Hello, world", "--explain")

    assert code == 0
    assert "Ġworld" in out
    assert "995" in out


def test_tokenize_takes_a_models_own_table(run, directory):
    assert run("tokenize", "Hello", "-m", directory)[1] == "72 101 108 108 111\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--decode", "1 x"), "'x' is no id"),
        (("--decode", "50257"), "id 50257"),
        (("-m", "/nonesuch/x", "a"), "nonesuch"),
    ],
)
def test_tokenize_refuses_what_is_no_id(run, arguments, says):
    code, out, err = run("tokenize", "--offline", *arguments)

    assert code in (2, 3)
    assert (out, says in err) == ("", True)


def test_download_refuses_what_is_not_at_the_hub(run, directory):
    for model in ("fable", directory, "../..", "https://example.org/a"):
        code, out, err = run("download", model, "--offline")
        assert code in (2, 3)
        assert out == ""
        assert err.startswith("error: ")


def test_each_command_has_help_and_each_is_in_the_list(run):
    _, listed, _ = run("--help")

    for name in ("generate", "tokenize", "download"):
        assert name in listed
        code, out, _ = run(name, "--help")
        assert code == 0
        assert "--debug" in out
    assert run("nonesuch")[0] == 2


def call(*arguments, **how):
    environment = os.environ | {"PYTHONUNBUFFERED": "", "OPENBLAS_NUM_THREADS": "1"} | how.pop("env", {})
    return subprocess.Popen(
        [sys.executable, "-m", "arrayformer", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, **how,
    )  # fmt: skip


LONG = ("-n", 10**7, "--on-full", "slide", "--offline", "--ignore-eos")


def test_help_imports_neither_arrays_nor_networks():
    code = (
        "import sys; from arrayformer import cli; cli.main(['--help']);"
        "print([m for m in ('numpy', 'huggingface_hub', 'rich', 'jax', 'pluggy') if m in sys.modules], file=sys.stderr)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stderr.strip() == "[]"


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_lets_out_what_was_written_and_ends_with_130(directory):
    process = call("generate", "Hello", "-m", directory, *LONG)
    first = os.read(process.stdout.fileno(), 10)

    process.send_signal(signal.SIGINT)
    rest, err = process.communicate(timeout=60)

    assert first
    assert rest.endswith(b"\n")
    assert (process.returncode, err) == (130, b"")


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_sigterm_lets_out_what_was_written_and_ends_with_143(directory):
    process = call("generate", "Hello", "-m", directory, *LONG)
    first = os.read(process.stdout.fileno(), 10)

    process.terminate()
    rest, err = process.communicate(timeout=60)

    assert first
    assert rest.endswith(b"\n")
    assert (process.returncode, err) == (143, b"")


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer")
def test_sigterm_that_is_swallowed_ends_the_process_all_the_same():
    code = """if True:
        import os, signal, sys, time
        from arrayformer import cli

        class Swallowing:
            def __del__(self):
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.01)

        def work(*_):
            Swallowing()
            time.sleep(60)

        cli.LONGEST_END, cli.run = 0.1, work
        sys.exit(cli.main([]))
    """

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=50, check=False)

    assert b"Exception ignored" in done.stderr
    assert done.returncode == 143


@pytest.mark.skipif(not os.path.exists(f"/proc/self/task/{os.getpid()}/children"), reason="looks into /proc")
@pytest.mark.parametrize(
    "arguments",
    [("conformance", "--artifacts", "."), ("bench", "--rounds", "100", "--no-bounds", "--prompt-lengths", "16")],
)
def test_sigterm_ends_the_processes_that_were_started_too(arguments, tmp_path):
    process = call(*arguments, cwd=tmp_path)
    task = f"/proc/{process.pid}/task/{process.pid}/children"
    deadline = time.monotonic() + 60
    while not (children := open(task).read().split()) and time.monotonic() < deadline:  # noqa: SIM115
        time.sleep(0.02)

    process.terminate()
    _, err = process.communicate(timeout=60)

    while any(os.path.exists(f"/proc/{child}") for child in children) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert children
    assert process.returncode == 143
    assert b"most recent call last" not in err
    assert not [child for child in children if os.path.exists(f"/proc/{child}")]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="a shell's way to close a stream")
@pytest.mark.parametrize(
    ("closed", "arguments", "code", "out", "err"),
    [
        (">&-", ("tokenize", "a"), 3, b"", b"error: standard output is closed: there is nowhere to write to\n"),
        (">&-", ("--help",), 3, b"", b"error: standard output is closed: there is nowhere to write to\n"),
        ("2>&-", ("tokenize", "a"), 0, b"64\n", b""),
        ("2>&-", ("tokenize", "--decode", "x"), 2, b"", b""),
        (">&- 2>&-", ("tokenize", "a"), 3, b"", b""),
        ("<&-", ("tokenize", "a"), 0, b"64\n", b""),
        ("<&-", ("tokenize", "-"), 2, b"", b"error: standard input is closed; give the prompt as an argument\n"),
    ],
)
def test_streams_that_are_closed_from_the_start_are_no_crash(closed, arguments, code, out, err):
    shell = ["sh", "-c", f'"$@" {closed}', "sh", sys.executable, "-m", "arrayformer", *arguments]

    done = subprocess.run(shell, capture_output=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (code, out, err)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_closed_pipe_ends_quietly(directory):
    process = call("generate", "Hello", "-m", directory, *LONG)
    os.read(process.stdout.fileno(), 10)

    process.stdout.close()
    process.wait(timeout=60)

    assert (process.returncode, process.stderr.read()) == (0, b"")


@pytest.mark.parametrize(
    "arguments",
    [
        ("conformance", "--case", "L1-relu", "--json", "r.json"),
        ("conformance", "--case", "L1-relu", "--junit", "r.xml"),
        ("inspect", "Once upon a time", "--html", "r.html"),
        ("new-backend", "mine"),
    ],
)
def test_a_file_that_finds_no_room_is_said_and_not_left_half_written(
    run, monkeypatch, tmp_path, small_files, arguments
):
    monkeypatch.chdir(tmp_path)

    with small_files(200):
        code, _, err = run(*arguments)

    assert code == 3
    assert err.splitlines()[-1].endswith("cannot be written: File too large")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--json", "--html", "--junit"])
def test_where_a_report_cannot_lie_is_said_before_the_cases_run(run, tmp_path, option):
    code, out, err = run("conformance", "--level", 0, option, tmp_path / "nonesuch" / "file")

    assert (code, out) == (3, "")
    assert "there is no folder" in err


@pytest.mark.parametrize("arguments", [("conformance", "--case", "L1-relu"), ("backends",), ("plugins",)])
@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "1e9"])
def test_a_time_limit_that_is_none_is_refused(run, seconds, arguments):
    assert run(*arguments, "--timeout", seconds)[:2] == (2, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_is_reported(directory):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "arrayformer", "generate", "Hello", "-m", directory, "-n", "3"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip

    assert done.returncode == 3
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_terminal_that_knows_no_unicode_gets_question_marks(directory):
    environment = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "NO_COLOR": "1", "COLUMNS": "1"}

    process = call("generate", "né", "-m", directory, "-n", 30, "--echo", "--offline", env=environment)
    out, err = process.communicate(timeout=60)

    assert (process.returncode, err) == (0, b"")
    assert out.startswith(b"n?")


def test_standard_input_that_is_closed_is_said(directory):
    arguments = ["generate", "-", "-m", directory]
    code = f"import sys; sys.stdin = None; from arrayformer.cli import main; sys.exit(main({arguments}))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "standard input is closed" in done.stderr


def test_text_comes_as_it_is_written(directory):
    process = call("generate", "Hello", "-m", directory, *LONG)
    start = time.monotonic()

    pieces = [os.read(process.stdout.fileno(), 1 << 16) for _ in range(3)]
    process.kill()
    process.communicate()

    assert all(pieces)
    assert time.monotonic() - start < 60
