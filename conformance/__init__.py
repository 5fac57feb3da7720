"""Does a backend compute transformers right? Cases, the comparison, the reports.

Importing this package imports no NumPy: what a test file needs comes on first use.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arrayformer.conformance.suite import ConformanceSuite as ConformanceSuite

__all__ = ["ConformanceSuite"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from arrayformer.conformance import suite

        return getattr(suite, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
