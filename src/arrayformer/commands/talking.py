"""A conversation in a terminal."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from arrayformer.chat import Conversation, Message
from arrayformer.commands.output import out
from arrayformer.core.errors import ArrayformerError, InputError
from arrayformer.core.files import strict_json
from arrayformer.core.generate.options import Options
from arrayformer.generation import Stream

HELP = """\
/reset        begin anew
/system TEXT  begin anew, and tell the model this first; without a text, nothing
/save FILE    write the conversation to a file, as JSON
/quit         end, as Ctrl-D does
Enter sends; Alt-Enter (or Esc, Enter) begins a new line; the arrows bring back what you said; Ctrl-C ends an answer.
"""


class Talk:
    """Questions from a terminal, answers as they come. Ctrl-C ends an answer and not the program."""

    def __init__(self, conversation: Conversation, how: Options, ask: Callable[[], str] | None = None) -> None:
        """`ask` gives the next line that was typed (prompt_toolkit's). Raises InputError without prompt_toolkit."""
        self.conversation = conversation
        self.how = how
        self._ask = ask or prompt()
        self._commands = {"/reset": self._reset, "/system": self._system, "/save": self._save, "/help": self._help}

    def run(self) -> None:
        """Until Ctrl-D or /quit."""
        while True:
            try:
                line = self._ask()
            except KeyboardInterrupt:  # gives up the line that was being typed
                continue
            except EOFError:
                return
            if line.strip() == "/quit":
                return
            try:
                self._take(line)
            except (ArrayformerError, OSError) as error:
                print(f"error: {error}", file=sys.stderr)

    def _take(self, line: str) -> None:
        word, _, rest = line.strip().partition(" ")
        if word in self._commands:
            self._commands[word](rest.strip())
        elif word.startswith("/"):
            raise InputError(f"there is no {word!r:.60}; /help lists what there is")
        elif word:
            self._answer(self.conversation.stream(line, **self.how))

    def _answer(self, stream: Stream[str]) -> None:
        with stopping_at_ctrl_c() as asked_to_stop:
            for piece in stream:
                out(piece)
                if asked_to_stop():
                    stream.interrupt()
        out("\n")

    def _reset(self, _rest: str) -> None:
        self.conversation.reset([m for m in self.conversation.messages[:1] if m["role"] == "system"])

    def _system(self, text: str) -> None:
        begin: list[Message] = [{"role": "system", "content": text}] if text else []
        self.conversation.reset(begin)

    def _save(self, name: str) -> None:
        from arrayformer.core.files.atomic import write_whole

        if not name:
            raise InputError("/save needs the name of a file")
        text = strict_json.dumps({"messages": self.conversation.messages}, indent=2, ascii_only=False)
        write_whole(Path(name).expanduser(), text + "\n")
        print(f"{name}: {len(self.conversation.messages)} messages", file=sys.stderr)

    def _help(self, _rest: str) -> None:
        print(HELP, end="", file=sys.stderr)


@contextmanager
def stopping_at_ctrl_c() -> Iterator[Callable[[], bool]]:
    """Says whether Ctrl-C has come. The first one breaks nothing off: a step ends as it should; a second one does."""
    asked: list[int] = []

    def remember(number: int, _frame: object) -> None:
        asked.append(number)
        if len(asked) > 1:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield lambda: bool(asked)
    except KeyboardInterrupt as end:
        if type(end) is not KeyboardInterrupt:  # SIGTERM
            raise
    finally:
        signal.signal(signal.SIGINT, before)


def prompt() -> Callable[[], str]:
    """Asks for a message, of several lines if need be. Raises InputError without prompt_toolkit."""
    try:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
    except ImportError:
        raise InputError(
            "a conversation in the terminal needs prompt_toolkit: pip install 'arrayformer[chat]'; "
            "a question as an argument, or lines from a pipe, need nothing"
        ) from None
    keys = KeyBindings()

    @keys.add("enter")
    def _send(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _break_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    session: PromptSession[str] = PromptSession(multiline=True, key_bindings=keys, prompt_continuation="  ")
    return lambda: session.prompt("> ")
