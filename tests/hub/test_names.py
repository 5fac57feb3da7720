"""Models by name: in the package, in a directory, at the hub."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.hub.hub_server import Hub

from arrayformer.core.errors import DownloadError, InputError, ModelFileError
from arrayformer.hub.resolve import resolve_model


@pytest.mark.parametrize(
    "name",
    ["a/b/c", "https://huggingface.co/gpt2", "", "owner/", "/name", "owner/na me", "öwner/name", "a/..", "a\n/b",
     "124m", "owner/name\0", "-x/y", "owner/" + "x" * 200, "x" * 5000, "a--b/c", "../../nowhere"],
)  # fmt: skip
def test_what_can_be_no_model_is_refused_without_asking_the_hub(
    hub: Hub, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ModelFileError, match="no model "):
        resolve_model(name)

    assert hub.requests == []


@pytest.mark.parametrize("revision", ["../x", "a/../b", "-x", "", "a b", "ä", "x" * 300, "a\n"])
def test_what_can_be_no_revision_is_refused(hub: Hub, cache: Path, revision: str | None) -> None:
    with pytest.raises(InputError, match="neither a commit nor the name of a branch"):
        resolve_model("owner/tiny", revision=revision)

    assert hub.requests == []


def test_a_directory_is_itself(tmp_path: Path) -> None:
    assert resolve_model(str(tmp_path)) == tmp_path


def test_a_link_that_leads_nowhere_is_said(tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to("nowhere")

    with pytest.raises(ModelFileError, match="model: is a link that leads nowhere; it says 'nowhere'"):
        resolve_model(str(tmp_path / "model"))


def test_a_variable_that_is_no_number_is_said() -> None:
    code = "import sys; from arrayformer.cli import main; sys.exit(main(['download', 'a/b', '--offline']))"
    environment = os.environ | {"HF_HUB_DOWNLOAD_TIMEOUT": "soon"}

    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: huggingface_hub cannot be loaded (invalid literal")
    assert "Traceback" not in done.stderr


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")

    with pytest.raises(ModelFileError, match=r"is a file, and no \.gguf; pass the directory"):
        resolve_model(str(tmp_path / "model.safetensors"))


def test_a_size_is_taken_from_the_models_directory(tmp_path: Path) -> None:
    (tmp_path / "124M").mkdir()

    assert resolve_model("124M", models_dir=tmp_path) == tmp_path / "124M"


@pytest.mark.parametrize(
    ("name", "hub_id"),
    [("124M", "gpt2"), ("355M", "gpt2-medium"), ("774M", "gpt2-large"), ("1558M", "gpt2-xl"), ("gpt2", "gpt2")],
)
def test_a_size_that_is_not_there_is_looked_for_at_the_hub(
    hub: Hub, cache: Path, tmp_path: Path, name: str, hub_id: Any
) -> None:
    with pytest.raises(DownloadError, match=f"openai-community/{hub_id}: there is no such repository"):
        resolve_model(name, models_dir=tmp_path)

    assert hub.requests == [f"GET /api/models/openai-community/{hub_id}"]


def test_the_default_model_is_in_the_package() -> None:
    import arrayformer

    wanted = Path(arrayformer.__file__).parent / "models" / "fable"
    if not wanted.is_dir():
        with pytest.raises(ModelFileError, match="'fable' is not part of this installation"):
            resolve_model("fable")
    else:
        assert resolve_model("fable") == wanted


def test_finding_a_directory_imports_no_hub_library(tmp_path: Path) -> None:
    code = (
        f"import sys; from arrayformer.hub.resolve import resolve_model; resolve_model({str(tmp_path)!r}); "
        "assert 'huggingface_hub' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
