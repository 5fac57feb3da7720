"""What `--timeout` takes."""

import math
from typing import Any

import click


class Seconds(click.FloatRange):
    """A tenth of a second to a day; NaN, which is below no bound, is refused too."""

    def __init__(self) -> None:
        super().__init__(min=0.1, max=86400)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """`value` as seconds. Fails with a usage error for anything else."""
        seconds = float(super().convert(value, param, ctx))
        if math.isnan(seconds):
            self.fail("it is not a number", param, ctx)
        return seconds


SECONDS = Seconds()
