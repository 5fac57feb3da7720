"""`arrayformer backends`, `plugins` and `new-backend`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from arrayformer.cli import main
from arrayformer.core.array_api import functions

from .conftest import Install, backend_source

Capture = pytest.CaptureFixture[str]


def test_backends_lists_what_is_installed(install: Install, capsys: Capture) -> None:
    install(backend_source())

    assert main(["backends"]) == 0

    text = capsys.readouterr().out
    assert "numpy" in text
    assert "acme-af 0.9.0" in text


def test_backends_as_json_can_be_read_back(install: Install, capsys: Capture) -> None:
    install(backend_source())

    main(["backends", "--json"])

    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["acme"] | {"library": "", "error": "", "builtin": False} == rows["acme"]
    assert (rows["acme"]["distribution"], rows["acme"]["version"]) == ("acme-af", "0.9.0")


def test_backends_check_says_what_each_can(install: Install, capsys: Capture) -> None:
    install(backend_source())

    main(["backends", "--check", "--json", "numpy", "acme"])

    numpy, acme = json.loads(capsys.readouterr().out)
    assert (numpy["status"], acme["status"]) == ("works", "works")
    assert numpy["dtypes"][0] == "float32"
    assert acme["lacks"] == []


def test_backends_needs_names_each_function_of_the_graph(capsys: Capture) -> None:
    main(["backends", "--needs", "--json"])

    assert json.loads(capsys.readouterr().out)["functions"] == functions()
    main(["backends", "--needs"])
    assert "take_along_axis(x, indices, /, *, axis)" in capsys.readouterr().out


def test_a_broken_plugin_is_named_with_its_error_and_its_distribution(install: Install, capsys: Capture) -> None:
    install("raise OSError('no libacme.so')")
    install(backend_source("name = 'fine'").replace('("acme"', '("fine"'), name="fine", distribution="fine-af")

    assert main(["plugins"]) == 0

    text = capsys.readouterr().out
    assert "acme         broken       acme-af 0.9.0 (acme_af)" in text
    assert "OSError: no libacme.so" in text
    assert "fine         loads        fine-af 0.9.0 (fine_af)" in text


@pytest.mark.parametrize("arguments", [["--help"], ["tokenize", "Hello, world"], ["backends"], ["backends", "--needs"]])
def test_with_a_broken_plugin_every_other_command_works(
    install: Install, capsys: Capture, arguments: list[str]
) -> None:
    install("import os\nos._exit(3)")

    assert main(arguments) == 0


def test_two_plugins_of_one_name_are_both_tried(install: Install, capsys: Capture) -> None:
    install(backend_source(), distribution="first-af")
    install("1 / 0", distribution="second-af")

    main(["backends", "--check", "--json", "acme@first-af", "acme@second-af"])

    assert [row["status"] for row in json.loads(capsys.readouterr().out)] == ["works", "broken"]


def test_checking_one_plugin_ends_with_the_exit_code_of_backends(install: Install, capsys: Capture) -> None:
    install("raise RuntimeError('odd')")

    assert main(["plugins", "--check", "acme"]) == 4

    text = capsys.readouterr().out
    assert "RuntimeError: odd" in text
    assert "Traceback" in text
    assert main(["plugins", "--check", "numpy", "--json"]) == 0


def test_a_new_backend_is_found_and_computes(site: Path, tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "mine"

    assert main(["new-backend", "my-lib", "--into", str(folder)]) == 0

    assert (folder / "tests" / "test_my_lib.py").is_file()
    assert 'my_lib = "arrayformer_my_lib"' in (folder / "pyproject.toml").read_text()
    code = f"from arrayformer.backends.registry import get_backend; import sys; sys.path.append({str(folder)!r})"
    info = site / "mine-1.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_text("[arrayformer]\nmy_lib = arrayformer_my_lib\n")
    subprocess.run([sys.executable, "-c", f"{code}; assert get_backend('my_lib').name == 'my_lib'"], check=True)


def test_a_new_backend_overwrites_nothing(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "mine").write_text("precious")

    assert main(["new-backend", "my_lib", "--into", str(tmp_path)]) == 2

    assert "nothing is overwritten" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("name", ["numpy", "9lives", "Mine", "a b"])
def test_a_new_backend_needs_a_name_that_can_be_asked_for(name: str, tmp_path: Path, capsys: Capture) -> None:
    assert main(["new-backend", name, "--into", str(tmp_path / "x")]) == 2

    assert "cannot be the name of a backend" in capsys.readouterr().err
