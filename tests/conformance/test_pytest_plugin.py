"""The suite under pytest: options, a third party's own file, files written across processes."""

import json
import os
import subprocess
import sys

import pytest

HERE = os.path.dirname(__file__)
PLUGIN = ("-p", "arrayformer.conformance.plugin")


def has_entry_point():
    from importlib.metadata import entry_points

    return any(e.value == "arrayformer.conformance.plugin" for e in entry_points(group="pytest11"))


def run_pytest(folder, *args):
    plugin = () if has_entry_point() else PLUGIN
    command = [sys.executable, "-m", "pytest", *plugin, "-q", "-p", "no:cacheprovider", *args]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_cases_run_from_any_directory_and_leave_json(tmp_path):
    done = run_pytest(
        tmp_path, "--pyargs", "arrayformer.conformance", "--arrayformer-backend", "numpy",
        "--arrayformer-case", "L1-gelu", "--arrayformer-json", "r.json",
    )  # fmt: skip

    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
    assert json.loads((tmp_path / "r.json").read_text())["data"]["summary"] == {"passed": 1, "total": 1, "collected": 1}


def test_json_is_whole_when_the_cases_ran_in_two_processes(tmp_path):
    pytest.importorskip("xdist")
    done = run_pytest(
        tmp_path, "-n", "2", "--pyargs", "arrayformer.conformance", "--arrayformer-backend", "numpy",
        "--arrayformer-case", "L1-function*", "--arrayformer-json", "r.json",
    )  # fmt: skip

    assert done.returncode == 0, done.stdout
    summary = json.loads((tmp_path / "r.json").read_text())["data"]["summary"]
    assert summary["passed"] == summary["total"] > 20


def test_a_third_partys_file_judges_a_class_and_a_name(tmp_path):
    (tmp_path / "test_mine.py").write_text(
        "from arrayformer.backends.numpy.backend import NumpyBackend\n"
        "from arrayformer.conformance import ConformanceSuite\n"
        "class TestClass(ConformanceSuite):\n"
        "    backend = NumpyBackend\n"
        "    cases = ('L1-gelu', 'L1-casts')\n"
        "class TestWrong(ConformanceSuite):\n"
        "    backend = 'arrayformer.conformance.wrong:erf_gelu'\n"
        "    cases = ('L1-gelu', 'L1-relu')\n"
        "    xfails_file = 'xfails.txt'\n"
    )
    (tmp_path / "xfails.txt").write_text("L1-gelu  # erf form\n")

    done = run_pytest(tmp_path, "test_mine.py")

    assert done.returncode == 0, done.stdout
    assert "2 passed, 2 skipped, 1 xfailed" in done.stdout


def test_a_case_that_never_returns_fails_in_the_test_process_too(tmp_path):
    (tmp_path / "test_hang.py").write_text(
        "from arrayformer.conformance import ConformanceSuite\n"
        "from arrayformer.conformance.wrong import WRONG\n"
        "class TestHang(ConformanceSuite):\n"
        "    backend = WRONG['never_answers'].make\n"
        "    cases = ('L1-gelu',)\n"
        "    seconds = 1.0\n"
    )

    done = run_pytest(tmp_path, "test_hang.py")

    assert done.returncode == 1
    assert "no answer after 1 s" in done.stdout


def test_the_plugin_costs_nothing_when_it_is_not_used():
    code = "import sys, pytest, arrayformer.conformance.plugin; assert 'numpy' not in sys.modules"

    subprocess.run([sys.executable, "-c", code], check=True)
