"""The options that several commands take, as click reads them; a command gets what they say as one typed value."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from functools import wraps
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import click

from arrayformer.core.generate.options import Ending, Options, Sampling

if TYPE_CHECKING:
    from arrayformer.api import Model

F = TypeVar("F", bound=Callable[..., Any])
Decorator = Callable[[F], F]


@dataclass(frozen=True)
class ModelOptions:
    """Where the model is, and on what it runs."""

    model: Annotated[str | None, "A directory, a GGUF file, a hub id, or a model that comes along.  [fable]"] = None
    models_dir: Annotated[str | None, "Where picoGPT's models lie."] = None
    revision: Annotated[str | None, "Commit, tag or branch of a hub id."] = None
    offline: Annotated[bool, "Do without the network."] = False
    backend: Annotated[str | None, "The array library.  [$ARRAYFORMER_BACKEND, or numpy]"] = None
    device: Annotated[str | None, "Where it computes, for example cpu or cuda:0."] = None
    dtype: Annotated[str | None, "Of the weights: what `arrayformer backends` lists."] = None
    mesh: Annotated[str | None, "For backends that spread a model over devices."] = None
    pack: Annotated[str | None, "Round large matrices to 8 or 4 bits, as llama.cpp does: q8_0, q4_0."] = None
    allow_nonfinite: Annotated[bool, "Load weights that hold NaN or infinity."] = False
    ignore_extra: Annotated[bool, "Load weights among which are tensors the model has not."] = False

    @property
    def name(self) -> str:
        """What the model is called in results."""
        return "fable" if self.model is None else self.model

    def load(self) -> "Model":
        """The model. Raises what `arrayformer.load` raises."""
        from arrayformer.api import load
        from arrayformer.commands.loading import loading_bar

        said = {field.name: getattr(self, field.name) for field in fields(self)}
        said["model"] = self.name
        with loading_bar(self.name) as progress:
            return load(**said, progress=progress)


FLAGS = {
    "model": ("-m", "--model"),
    "models_dir": ("--models_dir", "--models-dir"),
    "max_new_tokens": ("-n", "--max-tokens", "--n_tokens_to_generate"),
}
"""Where an option has other names than its own with dashes."""

NOTES = {
    "on_full": "  [error with --max-tokens, else stop]",
    "logprobs": " With --json.",
}
"""What only the command line has to add to an option's help."""


def click_option(name: str, hint: Any, default: Any) -> Decorator[Any]:
    """The option for a field with the type `Annotated[kind, help]`."""
    kind, text = get_args(hint)
    said: dict[str, Any] = {"help": text + NOTES.get(name, ""), "default": default}
    if get_origin(kind) is Literal:
        said |= {"type": click.Choice(get_args(kind)), "default": None}
    elif kind is bool:
        said["is_flag"] = True
    elif isinstance(kind, UnionType) and type(None) not in get_args(kind):  # one or several
        said |= {"multiple": True, "default": ()}
    else:
        said |= {"type": next(k for k in (*get_args(kind), kind) if k in (int, float, str))}
        said |= {"show_default": default is not None}
    return click.option(name, *FLAGS.get(name, (f"--{name.replace('_', '-')}",)), **said)


def gathered(argument: str, build: Callable[..., Any], options: Mapping[str, Decorator[Any]]) -> Decorator[Any]:
    """Add `options` to a command, which gets `build(**what they say)` as `argument`."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def command(**said: Any) -> Any:
            own = {name: said.pop(name) for name in options}
            return function(**{argument: build(**own)}, **said)

        for option in reversed(list(options.values())):
            command = option(command)
        return command

    return add


def _defaults() -> dict[str, Any]:
    """What each of `Options` is where it is not said."""
    kinds = (Sampling, Ending)
    return {field.name: None if field.default is MISSING else field.default for k in kinds for field in fields(k)}


model_options = gathered(
    "where",
    ModelOptions,
    {
        field.name: click_option(
            field.name, get_type_hints(ModelOptions, include_extras=True)[field.name], field.default
        )
        for field in fields(ModelOptions)
    },
)
"""Gives a command `where: ModelOptions`."""

writing_options = gathered(
    "how",
    Options,
    {
        name: click_option(name, hint, _defaults()[name])
        for name, hint in get_type_hints(Options, include_extras=True).items()
    },
)
"""Gives a command `how: Options`. Where `on_full` was not said it is None: the command decides."""
