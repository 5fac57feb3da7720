"""A bar while a model is loaded: on a terminal, and only where it takes long."""

import contextlib
import io

import pytest

from arrayformer.commands import loading
from arrayformer.commands.loading import loading_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def seen(monkeypatch: pytest.MonkeyPatch, screen: io.StringIO, fails: bool = False, patience: float = 0.0) -> str:
    """What stands on `screen` after a model was loaded."""
    # Here and not in a fixture: pytest puts its own stderr in place when a test begins.
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(loading, "PATIENCE", patience)
    with contextlib.suppress(ZeroDivisionError), loading_bar("a [model]") as progress:
        for done in range(0, 101, 10):
            progress(done // (0 if fails and done == 50 else 1), 100)
    return screen.getvalue()


def test_loading_that_takes_long_shows_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    text = seen(monkeypatch, Terminal())

    assert "loading a [model]" in text
    assert "100%" in text


def test_loading_that_is_quick_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert seen(monkeypatch, Terminal(), patience=60.0) == ""


def test_where_stderr_is_no_terminal_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert seen(monkeypatch, io.StringIO()) == ""


@pytest.mark.parametrize("fails", [False, True])
def test_the_bar_leaves_no_trace(monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    text = seen(monkeypatch, Terminal(), fails)

    assert "\x1b[?25h" in text  # the cursor is shown again
    assert text.endswith("\x1b[2K")  # and the line is cleared
