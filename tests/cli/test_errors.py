"""Errors of the user in one line, everything else with its traceback."""

import pytest


def test_a_model_that_is_not_there_is_a_file_error(run, tmp_path):
    code, _, err = run("generate", "a", "-m", tmp_path)

    assert code == 3
    assert str(tmp_path) in err


def test_control_characters_in_an_error_are_shown_not_obeyed(generate):
    _, _, err = generate("a", "--backend", "x\x1b[2J\ny")

    assert "\x1b" not in err


def test_debug_keeps_the_traceback(generate):
    code, out, err = generate("a", "--seed", "-1", "--debug")

    assert (code, out) == (2, "")
    assert "in check_whole" in err
    assert err.endswith("\nerror: seed is -1; it is a whole number from 0 to 18446744073709551615\n")


def test_a_bug_is_not_dressed_up_as_an_error_of_the_users(run, monkeypatch):
    monkeypatch.setattr("arrayformer.commands.writing.write_one", lambda *_: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        run("generate", "a")


@pytest.mark.parametrize("option", ["--json", "--html", "--junit"])
def test_where_a_report_cannot_lie_is_said_before_the_cases_run(run, tmp_path, option):
    code, out, err = run("conformance", "--level", 0, option, tmp_path / "nonesuch" / "file")

    assert (code, out) == (3, "")
    assert "there is no folder" in err


@pytest.mark.parametrize("arguments", [("conformance", "--case", "L1-relu"), ("backends",), ("plugins",)])
@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "1e9"])
def test_a_time_limit_that_is_none_is_refused(run, seconds, arguments):
    assert run(*arguments, "--timeout", seconds)[:2] == (2, "")
