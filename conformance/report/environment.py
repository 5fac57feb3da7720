"""What is noted about a run besides its results: versions, devices, claims."""

import hashlib
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any

from arrayformer.backends.contract import CLAIMS
from arrayformer.core.backend import Backend


def environment(backend: Backend) -> dict[str, Any]:
    """What a backend says of itself, as JSON can hold it."""
    return {
        "backend": backend.name,
        "library": backend.library,
        "version": backend.version(),
        "device": backend.device,
        "devices": list(backend.devices()),
        "dtype": backend.dtype,
        "dtypes": list(backend.dtypes),
        "precision": backend.precision,
        "claims": {name: bool(getattr(backend, name)) for name in CLAIMS},
        "overrides": sorted(backend.overrides),
        "arrayformer": own_version(),
        "suite": suite_hash(),
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "platform": {
            "description": platform.platform(),
            "system": platform.system(),
            "release": platform.release(),
            "machine": platform.machine(),
        },
    }


def own_version() -> str:
    """Version of this package."""
    try:
        return version("arrayformer")
    except PackageNotFoundError:
        return "0+unknown"


@cache
def suite_hash() -> str:
    """SHA-1 over the suite and the graph it runs, 40 hexadecimal digits: which suite it was."""
    digest = hashlib.sha1(usedforsecurity=False)
    for package in ("arrayformer.core", "arrayformer.conformance"):
        folder = Path(str(files(package)))
        for file in sorted(path for path in folder.rglob("*") if path.suffix in (".py", ".toml")):
            digest.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
