"""A result as lines of text."""

import math

from arrayformer.core.files import strict_json
from arrayformer.evaluate.paper import TABLE_3
from arrayformer.evaluate.protocols import PROTOCOLS, Protocol
from arrayformer.evaluate.result import UNITS, Figure, Result, standing


def shown(measure: str, figure: Figure) -> str:
    """A value with its standard error: `12.34 ± 0.05`; an accuracy in percent."""
    scale, unit = (100, " %") if measure == "accuracy" else (1, "")
    value = f"{figure.value * scale:.4g}" if figure.value * scale >= 1e6 else f"{figure.value * scale:.4f}"
    return value + ("" if figure.error is None else f" ± {two_digits(figure.error * scale)}") + unit


def two_digits(error: float) -> str:
    """Two significant digits, written out: 0.049, 98, 120."""
    if not 0 < error < 1e6:
        return f"{error:.2g}"
    return f"{float(f'{error:.2g}'):.{max(0, 1 - math.floor(math.log10(error)))}f}"


def short(result: Result, protocol: Protocol) -> str:
    """The protocol's figure so far, for a progress bar."""
    figure = result.figure(protocol.measure)
    return protocol.name if figure is None else f"{UNITS[protocol.measure]} {shown(protocol.measure, figure)}"


def render(result: Result, protocol: Protocol) -> str:
    """The whole result."""
    figures = result.figures()
    order = sorted(figures, key=lambda measure: measure != protocol.measure)
    done = "" if result.complete else f" of {result.windows:,}: stopped before the end"
    lines = [
        f"{protocol.name}: {protocol.title}",
        f"  model    {result.model} on {result.backend} ({result.device}, {result.dtype})",
        f"  data     {result.data.origin}" + (" (checksum right)" if result.data.verified else ""),
        f"  read     {result.totals.windows:,} windows{done}; context {result.n_ctx:,}, stride {result.stride:,}; "
        f"{result.totals.n:,} scored",
        "",
        *(f"  {UNITS[measure]:<22} {shown(measure, figures[measure])}" for measure in order),
    ]
    said = [*result.notes, *standing(result, protocol)]
    return "\n".join(lines + [""] * bool(said) + [f"  {sentence}" for sentence in said])


def list_protocols(as_json: bool = False) -> str:
    """Every protocol, what it measures and what is known of it."""
    if as_json:
        return strict_json.dumps([described(p) for p in PROTOCOLS.values()], indent=1)
    lines = []
    for p in PROTOCOLS.values():
        lines += [f"{p.name:<15} {p.title}", f"{'':<15} {p.how}"]
        if p.column:
            known = "published runs come near it" if p.known else "not known to be reproducible"
            lines += [f"{'':<15} Table 3, {TABLE_3[p.column].title}: {known}"]
    return "\n".join(lines)


def described(protocol: Protocol) -> dict[str, object]:
    """A protocol as data."""
    return {
        "name": protocol.name, "title": protocol.title, "how": protocol.how, "measure": protocol.measure,
        "data": {"name": protocol.source.name, "where": protocol.source.where, "checksum": protocol.source.checksum},
        "table_3": protocol.column and TABLE_3[protocol.column].title,
        "published": [vars(p) for p in protocol.published],
        "known_to_be_reproducible": protocol.known,
    }  # fmt: skip
