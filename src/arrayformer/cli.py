"""The command line: finds the subcommand, and turns errors into one line and an exit code."""

import errno
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click

COMMANDS = {
    "generate": "Let a model write on.",
    "chat": "Ask a model, once or in a conversation.",
    "tokenize": "Turn text into ids, or back, and show how.",
    "backends": "List the array libraries that can run the model.",
    "plugins": "List the plugins, with what is wrong with them.",
    "conformance": "Prove that a backend computes transformers right.",
    "evaluate": "Measure how well a model predicts a text.",
    "bench": "Measure speed, beside the bounds of this machine.",
    "inspect": "Look into a forward pass.",
    "models": "List architectures, and models that can be had.",
    "download": "Fetch a model, verified.",
    "new-backend": "Write the skeleton of a backend package.",
}
"""Each subcommand with its line in --help, so that --help imports none of them."""

INTERRUPTED = 130
TERMINATED = 143

LONGEST_END = 5.0
"""Seconds that an end after SIGTERM may take."""


class Terminated(KeyboardInterrupt):
    """SIGTERM has come. Whatever cleans up after Ctrl-C cleans up after this."""


class LazyGroup(click.Group):
    """Imports a subcommand's module when the subcommand is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of a newcomer's way."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The subcommand of that name, which takes --debug too."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"arrayformer.commands.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        if not any(p.name == "debug" for p in command.params):
            command.params.append(debug_option())
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in --help."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def debug_option() -> click.Option:
    """--debug, which keeps the traceback of an error."""

    def remember(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
        if value:
            ctx.find_root().meta["debug"] = True

    return click.Option(
        ["--debug"], is_flag=True, expose_value=False, callback=remember, help="Show the traceback of an error."
    )


def show_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    """Print the version and end."""
    if value and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"arrayformer {version('arrayformer')}")
        ctx.exit()


@click.group(
    cls=LazyGroup, params=[debug_option()], context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 conformance or evaluation failed, 2 usage, 3 file, 4 backend, 5 network, "
    "6 numeric, 130 Ctrl-C, 143 SIGTERM.",
)  # fmt: skip
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=show_version, help="Its number.")
def group() -> None:
    """Transformers on every array library, and a suite that proves each one right."""


def main(args: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code."""
    meta: dict[str, Any] = {}
    warnings.formatwarning = one_line
    fill_closed_streams()
    if sys.stdout is None:
        print("error: standard output is closed: there is nowhere to write to", file=sys.stderr)
        return 3
    try:
        with sigterm_unwinds():
            code = run(list(sys.argv[1:] if args is None else args), meta)
            sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has had enough
        write_no_more()
        return 0
    except KeyboardInterrupt as end:
        return interrupted(end)
    except Exception as error:
        from arrayformer.core.errors import ArrayformerError

        if not isinstance(error, ArrayformerError | OSError):
            raise
        if meta.get("debug"):
            traceback.print_exception(error)
        write_no_more()
        return report(error)
    return code


def write_no_more() -> None:
    """Let go what was written and went nowhere: Python would complain once more when it flushes at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def fill_closed_streams() -> None:
    """Open the null device in the place of streams that were closed before we came.

    Their numbers would go to the next files that are opened, and what a library prints would go into those.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


@contextmanager
def sigterm_unwinds() -> Iterator[None]:
    """Let the first SIGTERM end the block as Ctrl-C does; a second one ends the process at once.

    An exception from a signal is lost where Python cannot raise it, in a finalizer say: after LONGEST_END seconds the
    process ends whatever it is doing.
    """

    def end(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if hasattr(signal, "setitimer"):  # Windows has none
            signal.signal(signal.SIGALRM, lambda *_: os._exit(TERMINATED))
            signal.setitimer(signal.ITIMER_REAL, LONGEST_END)
        raise Terminated

    before = signal.getsignal(signal.SIGTERM)
    if before is signal.SIG_IGN or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run(args: list[str], meta: dict[str, Any]) -> int:
    """Run a command line; errors of usage are printed here, others raised. `meta` learns whether --debug was given."""
    from click.exceptions import Abort, ClickException, Exit

    try:
        with group.make_context("arrayformer", args) as ctx:
            ctx.meta.setdefault("debug", False)
            try:
                result = group.invoke(ctx)
            finally:
                meta.update(ctx.meta)
        return result if isinstance(result, int) else 0
    except Exit as ended:
        return ended.exit_code
    except Abort:  # click's word for Ctrl-C at a prompt
        raise KeyboardInterrupt from None
    except ClickException as error:
        error.show()
        return error.exit_code


def one_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """A warning as a user should see it; one that is meant for programmers keeps its place."""
    if category is UserWarning:
        return f"warning: {message}\n"
    return f"{filename}:{lineno}: {category.__name__}: {message}\n"


def report(error: Exception) -> int:
    """Print what went wrong as one line, as far as the message is one, and return the exit code."""
    message = str(error) if not isinstance(error, OSError) or not error.strerror else os_message(error)
    clean = "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in message)
    print(f"error: {clean}", file=sys.stderr)
    return int(getattr(error, "exit_code", 3))


def os_message(error: OSError) -> str:
    """What the operating system says, with the file. One without a name, and without room, is standard output."""
    where = error.filename or ("standard output" if error.errno in (errno.ENOSPC, errno.EFBIG) else "")
    return f"{where}: {error.strerror}" if where else str(error.strerror)


def interrupted(end: KeyboardInterrupt) -> int:
    """End after Ctrl-C or SIGTERM: what was produced goes out, a second Ctrl-C ends at once."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    write_no_more()
    return TERMINATED if isinstance(end, Terminated) else INTERRUPTED
