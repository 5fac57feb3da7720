"""The limits a backend is judged by. They are data, in limits.toml, each with the measurement behind it."""

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def table() -> dict[str, dict[str, Any]]:
    """limits.toml: name -> {limit, why, honest, honest_by, faulty, faulty_by, runs}."""
    text = files("arrayformer.conformance.criterion").joinpath("limits.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def limit(name: str) -> float:
    """The limit called `name`."""
    return float(table()[name]["limit"])
