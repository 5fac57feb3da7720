"""`arrayformer conformance`, its files and its exit codes."""

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest
from click.testing import CliRunner

from arrayformer.commands.conformance import command
from arrayformer.conformance.report import envelope
from arrayformer.conformance.run import session
from arrayformer.conformance.run.case import all_cases, select
from arrayformer.conformance.run.result import Result, awarded
from arrayformer.conformance.run.xfails import read_xfails
from arrayformer.core.errors import BackendError, InputError

WRONG = "arrayformer.conformance.wrong:erf_gelu"


def run(*args):
    return CliRunner().invoke(command, list(args), catch_exceptions=True)


@pytest.fixture(scope="module")
def wrong_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wrong")
    args = ("--case", "L1-gelu", "--case", "L1-relu", "--case", "L2-logits[p3]", "--artifacts", str(folder / "art"))
    files = ("--json", str(folder / "r.json"), "--junit", str(folder / "r.xml"), "--badge")
    return run("--backend", WRONG, *args, *files), folder


def test_a_right_backend_ends_with_0():
    result = run("--backend", "numpy", "--case", "L1-gelu")

    assert result.exit_code == 0
    assert "1 passed" in result.output


def test_a_wrong_backend_ends_with_1_and_the_first_wrong_tensor_is_named(wrong_run):
    result, _ = wrong_run
    words = " ".join(result.output.split())

    assert result.exit_code == 1
    assert "h.0.mlp.act" in words
    assert "GELU is computed in its erf form" in words
    assert "the override `gelu` is at fault" in words


def test_a_backend_that_is_not_there_is_a_backend_error():
    result = run("--backend", "no_such_backend")

    assert isinstance(result.exception, BackendError)
    assert result.exception.exit_code == 4


def test_a_case_that_does_not_exist_is_an_error():
    assert isinstance(run("--backend", "numpy", "--case", "L2-nothing").exception, InputError)


def test_json_keeps_the_compliance_schema(wrong_run):
    _, folder = wrong_run
    data = json.loads((folder / "r.json").read_text())

    keys = {"schema", "name", "version", "api_version", "timestamp", "platform", "execution_target", "python",
            "test_suite", "data"}  # fmt: skip
    assert set(data) == keys
    assert data["schema"] == "v1"
    assert set(data["platform"]) == {"description", "system", "release", "machine"}
    assert re.fullmatch(r"[0-9a-f]{40}", data["test_suite"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", data["timestamp"])
    assert set(data["data"]) == {"duration", "exitcode", "summary", "tests"}
    summary = data["data"]["summary"]
    assert sum(n for key, n in summary.items() if key not in ("total", "collected")) == summary["total"] == 3
    assert data["data"]["exitcode"] == 1
    assert all({"nodeid", "outcome", "metrics"} <= set(test) for test in data["data"]["tests"])


def test_a_device_that_is_no_cpu_names_what_drives_it():
    assert envelope.execution_target("cpu:0", "jax") == {"kind": "cpu"}
    assert envelope.execution_target("cuda:0", "torch") == {"kind": "gpu", "backend": "cuda"}
    assert envelope.execution_target("device1", "x") == {"kind": "other", "backend": "device1"}


def test_json_comes_back_as_it_was_written(wrong_run):
    _, folder = wrong_run

    found = envelope.read(folder / "r.json")

    assert [r.outcome for r in found.results] == ["failed", "passed", "failed"]
    assert envelope.envelope(found)["data"] == json.loads((folder / "r.json").read_text())["data"]


def test_junit_counts_failures(wrong_run):
    _, folder = wrong_run
    suite = ET.parse(folder / "r.xml").getroot()[0]

    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "2", "0")


def test_the_script_shows_the_fault_without_this_package(wrong_run):
    _, folder = wrong_run
    script = folder / "art" / "L2-logits[p3]" / "reproduce.py"

    text = script.read_text()
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, cwd="/")

    assert "import arrayformer" not in text
    assert "h.0.mlp.act" in done.stdout, done.stderr


def test_a_badge_says_the_level(wrong_run):
    result, _ = wrong_run

    assert "img.shields.io/badge/arrayformer_numpy-failed-red" in result.output


def test_several_runs_make_one_page(wrong_run, tmp_path):
    _, folder = wrong_run
    page = tmp_path / "page.html"

    result = run("--merge", str(folder / "r.json"), "--merge", str(folder / "r.json"), "--html", str(page))

    text = page.read_text()
    assert result.exit_code == 1
    assert text.count("L2-logits[p3]") >= 1
    assert not re.search(r"<link\b|\bsrc=|url\(|@import|fetch\(", text)  # its one script stands in it


def test_a_level_is_awarded_only_when_all_below_pass():
    good = [Result(f"L{n}-x", n, "", "passed") for n in range(3)]

    assert awarded(good) == 2
    assert awarded([*good, Result("L1-y", 1, "", "failed")]) == 0
    assert awarded([*good, Result("L1-y", 1, "", "xfailed")]) == 0
    assert awarded([*good, Result("L2-y", 2, "", "skipped")]) == 2
    assert awarded(good[1:]) is None


def known(tmp_path, text):
    path = tmp_path / "xfails.txt"
    path.write_text(text)
    return path


def test_a_known_bug_that_fails_is_expected_and_one_that_passes_is_reported(tmp_path):
    path = known(tmp_path, "L1-gelu  # erf form: its issue 3\nL1-relu  # long ago\n")

    found = session.run(WRONG, patterns=("L1-gelu", "L1-relu"), xfails_file=path)

    assert [r.outcome for r in found.results] == ["xfailed", "xpassed"]
    assert found.failed


def test_a_limit_of_a_backends_own_needs_a_reason_and_shows(tmp_path):
    path = known(tmp_path, "limit L1-gelu activation=1e9  # judged by eye\n")

    found = session.run(WRONG, patterns=("L1-gelu",), xfails_file=path)

    assert found.results[0].outcome == "passed"
    assert found.results[0].metrics[0].reason == "judged by eye"


@pytest.mark.parametrize(
    "line",
    ["L1-gelu", "L1-gelu  #  ", "L9-nothing # a reason", "limit L1-gelu Q=3 # a reason", "limit L1-gelu R=-1 # no"],
)
def test_a_line_that_says_nothing_true_is_refused(tmp_path, line):
    with pytest.raises(InputError):
        read_xfails(known(tmp_path, line + "\n"))


def test_each_case_has_an_id_of_its_level_a_title_and_runs_in_order():
    cases = list(all_cases().values())

    assert [(c.real, c.level) for c in cases] == sorted((c.real, c.level) for c in cases)
    assert all(c.id.startswith(f"L{c.level}-") and c.title.endswith(".") for c in cases)
    assert {c.id for c in select(2)} == {c.id for c in cases if c.level <= 2}
