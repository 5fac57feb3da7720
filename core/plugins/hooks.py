"""The hook through which a package offers backends; its docstring is the contract with plugin authors."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from arrayformer.core.backend import Backend

PROJECT = "arrayformer"  # of the plugin manager, of the markers and of the entry-point group

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

Factory = Callable[..., "Backend"]
"""factory(device=None, dtype=None, **options) -> Backend. A subclass of Backend is one."""

Register = Callable[[str, Factory], None]


@hookspec
def register_backends(register: Register) -> None:
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
