"""The hooks through which a package offers backends and models; their docstrings are the contract with its authors."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from arrayformer.core.architecture import Architecture
    from arrayformer.core.backend import Backend

PROJECT = "arrayformer"  # of the plugin manager, of the markers and of the entry-point groups

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

BackendFactory = Callable[..., "Backend"]
"""factory(device=None, dtype=None, **options) -> Backend. A subclass of Backend is one."""

RegisterBackend = Callable[[str, BackendFactory], None]
RegisterModel = Callable[[str, "type[Architecture]"], None]


@hookspec
def register_backends(register: RegisterBackend) -> None:
    """Call `register(name, factory)` for each backend this module offers.

    Each name is also the name of an entry point in the group `arrayformer`, so that backends can be listed
    without importing anything:

        [project.entry-points.arrayformer]
        torch = "arrayformer_torch"

    The entry point is loaded only when its backend is asked for, so the module may import its array library.
    The factory is called with the device and the dtype asked for (None: its own choice) and with the options
    the user gave; those it does not take are refused before. It raises BackendError, with the reason, where
    the backend cannot run.
    """


@hookspec
def register_models(register: RegisterModel) -> None:
    """Call `register(model_type, page)` for each architecture this module offers.

    `model_type` is what a config.json says; `page` is a subclass of `arrayformer.core.architecture.Architecture`.
    Each name is also the name of an entry point in the group `arrayformer.models`:

        [project.entry-points."arrayformer.models"]
        my_model = "arrayformer_my_model"

    The entry point is loaded when a checkpoint of that type is read, and when conformance runs the page's probes. The
    module imports no array library: its functions ask the arrays they are given for their namespace.
    """
