"""The options that say which model runs, and on what; the same for every command that loads one."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from arrayformer.api import Model

F = TypeVar("F", bound=Callable[..., Any])

OPTIONS = (
    click.option("-m", "--model", help="A directory, a Hugging Face hub id, or a model that comes along.  [fable]"),
    click.option("--models_dir", "--models-dir", "models_dir", help="Where picoGPT's models lie."),
    click.option("--revision", help="Commit, tag or branch of a hub id."),
    click.option("--offline", is_flag=True, help="Do without the network."),
    click.option("--backend", help="The array library.  [$ARRAYFORMER_BACKEND, or numpy]"),
    click.option("--device", help="Where it computes, for example cpu or cuda:0."),
    click.option("--dtype", help="Of the weights: what `arrayformer backends` lists."),
    click.option("--mesh", help="For backends that spread a model over devices."),
    click.option("--allow-nonfinite", is_flag=True, help="Load weights that hold NaN or infinity."),
    click.option("--ignore-extra", is_flag=True, help="Load weights among which are tensors no GPT-2 has."),
)


def model_options(function: F) -> F:
    """Add the options to a command; it gets model, models_dir, revision, offline, backend, device, dtype, mesh,
    allow_nonfinite, ignore_extra.
    """
    for option in reversed(OPTIONS):
        function = option(function)
    return function


def load_model(said: dict[str, Any]) -> "Model":
    """The model that these options stand for; other keys of `said` are left alone."""
    from arrayformer.api import DEFAULT_MODEL, load

    names = (
        "models_dir", "revision", "offline", "backend", "device", "dtype", "mesh", "allow_nonfinite", "ignore_extra",
    )  # fmt: skip
    options: dict[str, Any] = {name: said[name] for name in names if name in said}
    model = said.get("model")
    return load(DEFAULT_MODEL if model is None else model, **options)
