"""array-api-strict as a backend of arrayformer: the smallest backend that works."""

import array_api_strict

from arrayformer import hookimpl
from arrayformer.core.backend import Backend
from arrayformer.core.plugins.hooks import RegisterBackend


class StrictBackend(Backend):
    """The standard and nothing else, computed by NumPy."""

    name = "array_api_strict"
    library = "array-api-strict"
    xp = array_api_strict
    dtypes = ("float32", "float64")


@hookimpl
def register_backends(register: RegisterBackend) -> None:
    """Offer the backend under the name of the entry point."""
    register("array_api_strict", StrictBackend)
