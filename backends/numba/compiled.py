"""How functions are compiled: once per machine where their code can be kept, and said so where that takes a while."""

import sys
import warnings
from collections.abc import Callable
from typing import Any

import numba
from numba.core import event

FLAGS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
REASSOCIATED = {"reassoc", "contract", "nsz"}
"""A sum may be taken in any order, which lets it run in vectors. NaN and infinity keep their meaning."""

COMPILES = not numba.config.DISABLE_JIT
"""Whether anything is compiled: not with NUMBA_DISABLE_JIT=1, under which kernels are Python that a debugger enters."""

_said: set[str] = set()


def kernel(*, ordered: bool = False, inline: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function at its first call.

    ordered  whether its arithmetic is kept as it is written
    inline   whether it becomes part of its callers before they are compiled. A loop that a caller's own arrays are
             handed to is made of vectors only then: elsewhere, they might overlap with others
    """

    def compiled(function: Callable[..., Any]) -> Any:
        how = {"fastmath": {"contract"} if ordered else REASSOCIATED, "inline": "always" if inline else "never"}
        flags = FLAGS | how
        try:
            return numba.njit(cache=True, **flags)(function)
        except RuntimeError:  # numba finds no folder that can be written
            _say_uncached()
            return numba.njit(**flags)(function)

    return compiled


def _say_uncached() -> None:
    if "uncached" not in _said:
        _said.add("uncached")
        warnings.warn(
            "numba finds no folder where compiled functions can be kept: they are compiled anew in each process; "
            "NUMBA_CACHE_DIR can name one",
            RuntimeWarning, stacklevel=2,
        )  # fmt: skip


class _Teller(event.Listener):
    """Says on a terminal, once, that functions of this package are being compiled."""

    def on_start(self, event: Any) -> None:
        ours = event.data["dispatcher"].py_func.__module__.startswith(__package__ or "arrayformer")
        if ours and "compiling" not in _said and sys.stderr.isatty():
            _said.add("compiling")
            print("compiling functions for this machine: takes some seconds, once", file=sys.stderr)

    def on_end(self, event: Any) -> None:
        """Nothing to say."""


if COMPILES:
    event.register("numba:compile", _Teller())
