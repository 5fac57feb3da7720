"""What is shipped is what is here: packages, package data, the README's tree, the documents' links."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import arrayformer

ROOT = Path(__file__).parent.parent
ROOMS = {"core", "backends", "tokenizer", "conformance"}
GUIDES = sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("docs/*.md"))
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "SECURITY.md", *GUIDES]

pytestmark = pytest.mark.skipif(not (ROOT / "core").is_dir(), reason="needs the repository, not only its tests")


def test_every_package_is_listed_once_with_its_folder() -> None:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {room: ROOT / room for room in ROOMS} | {"": ROOT / "src" / "arrayformer"}
    found = {
        ".".join(["arrayformer", *([room] if room else []), *inner.parent.relative_to(folder).parts]): inner.parent
        for room, folder in folders.items()
        for inner in folder.rglob("__init__.py")
        if not inner.parent.is_symlink() and not (room == "" and ROOMS & set(inner.relative_to(folder).parts))
    }

    assert {name: ROOT / folder for name, folder in tool["package-dir"].items()} == found
    assert sorted(tool["packages"]) == sorted(found)


def test_every_file_of_a_package_is_shipped() -> None:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    shipped: set[Path] = set()
    for name, folder in tool["package-dir"].items():
        for pattern in [*tool["package-data"].get(name, []), "*.py"]:
            shipped |= {p for p in (ROOT / folder).glob(pattern) if p.is_file()}
    folders = [ROOT / folder for folder in tool["package-dir"].values()]
    files = {p for folder in folders for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts}

    assert files - shipped == set()


def test_the_readmes_tree_names_what_is_there() -> None:
    tree = re.search(r"<!-- tree -->\n```\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert tree is not None
    named = {line.split()[0].rstrip("/") for line in tree[1].splitlines() if line and not line.startswith(" ")}
    hidden = {"build", "dist"}
    there = {p.name for p in ROOT.iterdir() if p.is_dir() and not p.name.startswith(".")} - hidden

    assert {name for name in named if (ROOT / name).is_dir()} == {d for d in there if not d.endswith(".egg-info")}
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_of_the_documents_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text()
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)

    assert [t for t in targets if not ((ROOT / document).parent / t).exists()] == []


def test_the_version_is_the_distributions() -> None:
    assert arrayformer.__version__ == version("arrayformer")
