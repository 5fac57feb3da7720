"""From a model_type to the page that describes it."""

from arrayformer.core.architecture import Architecture
from arrayformer.core.errors import ConfigError, PluginError
from arrayformer.core.plugins.discovery import MODELS, PluginInfo, available, find, list_plugins
from arrayformer.core.plugins.loading import load


def list_models() -> list[PluginInfo]:
    """Built-in architectures first, then those of plugins by name. Imports no plugin."""
    return list_plugins(MODELS)


def find_model(model_type: str) -> type[Architecture]:
    """The page for `model_type`, as a config.json says it.

    Raises ConfigError where no installed package has one, PluginError where what it registers is none.
    """
    info = find(MODELS, model_type) if model_type.isidentifier() else None
    if info is None:
        raise ConfigError(
            f"model_type is {model_type!r:.60}; there are {', '.join(available(MODELS))}. "
            "A plugin adds one through the hook register_models: docs/architectures.md"
        )
    page = load(MODELS, info)
    if not isinstance(page, type) or not issubclass(page, Architecture):
        raise PluginError(
            f"model {info.name!r}: {info} registers {page!r:.100}, which is no subclass of "
            "arrayformer.core.architecture.Architecture; its author has to mend it"
        )
    return page
