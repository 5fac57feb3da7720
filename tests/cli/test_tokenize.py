"""`tokenize`, both ways."""

import pytest


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
