"""`chat`: one question, lines from a pipe, and a conversation in a terminal."""

import json
import os
import signal

import pytest

import arrayformer
from arrayformer import api, cli
from arrayformer.commands.talking import Talk, prompt
from arrayformer.core.errors import InputError


class Script:
    """Each message as a line of its own, after who says it."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer

    def ids(self, messages):
        lines = [f"{message['role'][0]}:{message['content']}\n" for message in messages] + ["a:"]
        return [id for line in lines for id in self.tokenizer.encode(line)]


@pytest.fixture(autouse=True)
def model(monkeypatch, directory):
    """The tiny model, as one that knows conversations."""
    plain = arrayformer.load(directory)
    model = api.Model(plain.config, plain.engine, plain.tokenizer, Script(plain.tokenizer))
    monkeypatch.setattr(api, "load", lambda *_a, **_o: model)
    return model


def answers(model, *questions, **options):
    conversation = model.conversation(options.pop("begin", ()))
    return [conversation.ask(question, ignore_eos=True, **options).text for question in questions]


def test_a_question_is_answered(run, model):
    code, out, err = run("chat", "Hi?", "-n", 6, "--temperature", 0.8, "--seed", 3, "--ignore-eos")

    assert (code, out, err) == (0, answers(model, "Hi?", max_new_tokens=6, temperature=0.8, seed=3)[0] + "\n", "")


@pytest.mark.parametrize("options", [(), ("--system", "Be kind")])
def test_lines_of_a_pipe_are_one_conversation(run, model, options):
    begin = [{"role": "system", "content": options[1]}] if options else []
    wanted = answers(model, "Hi?", "No", max_new_tokens=4, begin=begin)

    code, out, _ = run("chat", "-n", 4, "--ignore-eos", *options, stdin=b"Hi?\n\nNo\r\n")
    _, lines, _ = run("chat", "-n", 4, "--ignore-eos", "--json", *options, stdin=b"Hi?\n\nNo")

    assert (code, out) == (0, "".join(f"{text}\n" for text in wanted))
    assert [json.loads(line)["text"] for line in lines.splitlines()] == wanted
    assert [json.loads(line)["index"] for line in lines.splitlines()] == [0, 1]


def test_an_answer_without_a_length_ends_with_the_context(run):
    code, out, _ = run("chat", "Hi?", "--ignore-eos", "--json")

    assert code == 0
    assert json.loads(out)["finish_reason"] == "context"


@pytest.mark.parametrize(
    ("arguments", "stdin", "says"),
    [
        (("Hi", "--logprobs", "1"), b"", "--logprobs needs --json"),
        (("x" * 64,), b"", "this model's context is 64: begin a new one"),
        (("Hi", "--on-full", "slide"), b"", "oldest turns"),
        (("Hi", "--temperature", "-1"), b"", "temperature is -1.0"),
        ((), b"ab\xff\n", "standard input: byte 2 (0xff) is not UTF-8"),
    ],
)
def test_what_cannot_be_answered_is_said_in_one_line(run, arguments, stdin, says):
    code, out, err = run("chat", *arguments, stdin=stdin)

    assert (code, out) == (2, "")
    assert says in err


def test_a_model_that_knows_no_conversation_says_so(run, model):
    model.chat_template = None

    assert "no chat template" in run("chat", "Hi")[2]


def talk(model, *typed, **options):
    """What a conversation in which this was typed holds; a typed function is called in its turn."""
    lines = iter(typed)

    def ask():
        line = next(lines, None)
        if line is None:
            raise EOFError
        return line() if callable(line) else line

    conversation = model.conversation()
    Talk(conversation, {"max_new_tokens": 4, "ignore_eos": True, **options}, ask).run()
    return conversation


def test_what_is_typed_is_answered_until_the_end(model, capsys):
    wanted = answers(model, "Hi?", "a\nb", max_new_tokens=4)

    conversation = talk(model, "Hi?", "", "a\nb", "/quit", "never read")

    assert capsys.readouterr().out == "".join(f"{text}\n" for text in wanted)
    assert [message["content"] for message in conversation.messages] == ["Hi?", wanted[0], "a\nb", wanted[1]]


def test_commands_begin_anew_and_save(model, tmp_path, capsys):
    saved = tmp_path / "talk.json"

    conversation = talk(model, "Hi?", "/system Be kind", "No", "/reset", "Hi?", f"/save {saved}", "/help")

    said = [message["content"] for message in conversation.messages]
    assert said[:2] == ["Be kind", "Hi?"]
    assert json.loads(saved.read_text(encoding="utf-8"))["messages"] == conversation.messages
    assert "/save FILE" in capsys.readouterr().err
    assert [message["role"] for message in talk(model, "/system Be kind", "/system").messages] == []


def test_a_mistake_ends_nothing(model, capsys):
    conversation = talk(model, "/nonesuch", "/save", "/save /nonesuch/x", "x" * 64, "Hi?")

    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 4
    assert len(conversation.messages) == 2


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_ends_an_answer_and_not_the_conversation(model, monkeypatch, capsys):
    from arrayformer.commands import talking

    def out(piece):
        if piece != "\n":
            os.kill(os.getpid(), signal.SIGINT)

    def give_up():
        raise KeyboardInterrupt

    monkeypatch.setattr(talking, "out", out)
    conversation = talk(model, "Hi?", give_up, "No", max_new_tokens=30)

    assert [message["content"] for message in conversation.messages][::2] == ["Hi?", "No"]
    assert all(len(message["content"]) < 5 for message in conversation.messages)


def test_a_terminal_sends_with_enter_and_breaks_lines_with_alt_enter(monkeypatch):
    pytest.importorskip("prompt_toolkit")
    from prompt_toolkit.application import create_app_session
    from prompt_toolkit.input import create_pipe_input
    from prompt_toolkit.output import DummyOutput

    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        ask = prompt()
        keys.send_text("first\x1b\rsecond\r")
        assert ask() == "first\nsecond"
        keys.send_text("\x1b[A\r")  # the arrow up brings it back
        assert ask() == "first\nsecond"
        keys.send_text("\x03")
        with pytest.raises(KeyboardInterrupt):
            ask()
        keys.send_text("\x04")
        with pytest.raises(EOFError):
            ask()


def test_without_prompt_toolkit_a_terminal_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "prompt_toolkit", None)

    with pytest.raises(InputError, match=r"pip install 'arrayformer\[chat\]'"):
        prompt()


def test_chat_is_in_the_list(run):
    assert "chat" in run("--help")[1]
    assert cli.COMMANDS["chat"]
