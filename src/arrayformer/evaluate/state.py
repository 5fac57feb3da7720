"""A file that remembers how far a run came."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arrayformer.core.errors import DataFileError
from arrayformer.core.files import strict_json
from arrayformer.core.files.atomic import write_whole
from arrayformer.evaluate.source import read_bytes
from arrayformer.evaluate.totals import Totals


@dataclass(frozen=True)
class State:
    """Where a run stands.

    run     what is measured how: a run goes on only where all of it is the same
    totals  the sums so far, of the first totals.windows items
    """

    run: dict[str, Any]
    totals: Totals


def load_state(path: Path, run: dict[str, Any]) -> State:
    """What `path` remembers, or the start of the run where there is no such file.

    Raises DataFileError for a file that is no state, or that of another run.
    """
    if not path.exists():
        return State(run, Totals())
    content = read_bytes(path)
    try:
        found = strict_json.parse(content.decode("utf-8"), str(path), DataFileError)
        totals = Totals(**found["totals"])
        if not all(type(value) in (int, float) and value >= 0 for value in found["totals"].values()):
            raise ValueError
        before = dict(found["run"])
    except (ValueError, TypeError, KeyError) as error:
        raise DataFileError(f"{path} is not the state of an evaluation; delete it or name another file") from error
    if differing := sorted(k for k in run.keys() | before.keys() if run.get(k) != before.get(k)):
        key = differing[0]
        raise DataFileError(
            f"{path} belongs to another run: {key} was {before.get(key)!r}, is {run.get(key)!r}; "
            "delete it or name another"
        )
    return State(run, totals)


def save_state(path: Path, state: State) -> None:
    """Write `state`, whole or not at all. Raises OutputError."""
    text = strict_json.dumps({"run": state.run, "totals": state.totals.as_dict()}, indent=1)
    write_whole(path, text)
