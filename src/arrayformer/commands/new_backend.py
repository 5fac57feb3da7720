"""`arrayformer new-backend NAME`: the skeleton of a package that offers a backend."""

from pathlib import Path

import click

from arrayformer.core.errors import InputError, OutputError
from arrayformer.core.files.atomic import whole_folder
from arrayformer.core.plugins.discovery import BACKENDS, NAME

PYPROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "arrayformer-{dashed}"
version = "0.1.0"
description = "{name} as a backend of arrayformer"
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["arrayformer>=0.1"]

[project.optional-dependencies]
test = ["pytest>=9"]

[project.entry-points.arrayformer]
{name} = "arrayformer_{name}"

[tool.setuptools]
py-modules = ["arrayformer_{name}"]

[tool.pytest.ini_options]
testpaths = ["tests"]
"""

MODULE = '''\
"""{name} as a backend of arrayformer."""

import array_api_compat.numpy as xp  # put the namespace of your library here

from arrayformer import hookimpl
from arrayformer.core.plugins.hooks import RegisterBackend
from arrayformer.core.backend import Backend


class {title}Backend(Backend):
    """What every attribute claims, the conformance suite tests: see arrayformer/core/backend.py."""

    name = "{name}"
    library = "numpy"  # the distribution whose version is reported
    xp = xp
    dtypes = ("float32",)


@hookimpl
def register_backends(register: RegisterBackend) -> None:
    """Offer the backend under the name of the entry point."""
    register("{name}", {title}Backend)
'''

TEST = '''\
"""Is the plugin found, and does its backend compute right?"""

from arrayformer.backends.registry import get_backend, list_backends
from arrayformer.conformance import ConformanceSuite


def test_the_plugin_is_installed():
    assert "{name}" in [info.name for info in list_backends()]
    assert get_backend("{name}").name == "{name}"


class TestConformance(ConformanceSuite):
    backend = "{name}"
'''

README = """\
# arrayformer-{dashed}

{name} as a backend of arrayformer.

```
pip install -e '.[test]'
arrayformer plugins --check {name}
pytest
arrayformer generate --backend {name} "Once upon a time"
```
"""

FILES = {
    "pyproject.toml": PYPROJECT,
    "arrayformer_{name}.py": MODULE,
    "tests/test_{name}.py": TEST,
    "README.md": README,
}


@click.command(short_help="Write the skeleton of a backend package.")
@click.argument("name")
@click.option(
    "--into", type=click.Path(path_type=Path), help="The directory to write.  [arrayformer-NAME, here]"
)  # fmt: skip
def command(name: str, into: Path | None) -> None:
    """Write an installable package that offers the backend NAME, with tests. They pass: it starts as NumPy."""
    name = name.replace("-", "_")
    if name in BACKENDS.built_in or not NAME.fullmatch(name):
        raise InputError(
            f"{name!r} cannot be the name of a backend: lower-case letters, digits and _, a letter first, "
            f"and none of {', '.join(BACKENDS.built_in)}"
        )
    folder = into or Path(f"arrayformer-{name.replace('_', '-')}")
    for path in skeleton(name, folder):
        click.echo(path)
    click.echo(f"\nnext: cd {folder} && pip install -e '.[test]' && pytest", err=True)


def skeleton(name: str, folder: Path) -> list[Path]:
    """Write the files, or none of them.

    Raises InputError, before anything is written, where the directory holds something, and OutputError where the disk
    refuses.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists already and nothing is overwritten: choose another with --into")
    says = {"name": name, "dashed": name.replace("_", "-"), "title": name.title().replace("_", "")}
    texts = {template.format(**says): text.format(**says) for template, text in FILES.items()}
    try:
        with whole_folder(folder.absolute()) as beside:
            for name_of_file, text in texts.items():
                path = beside / name_of_file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}") from error
    return [folder / name_of_file for name_of_file in texts]
