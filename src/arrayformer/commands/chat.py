"""`arrayformer chat`: ask a model, once or in a conversation."""

import sys

import click

from arrayformer.commands.options import ModelOptions, model_options, writing_options
from arrayformer.core.generate.options import Options

DEFAULT_LENGTH = 512
"""Tokens of an answer, where the context has room for so many."""


@click.command(short_help="Ask a model, once or in a conversation.")
@click.argument("question", required=False)
@model_options
@writing_options
@click.option("--system", metavar="TEXT", help="What the model is told before the conversation.")
@click.option("--drop-oldest", is_flag=True, help="Leave out the oldest turns where the context is too short.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per answer, when it is done.")
def command(
    question: str | None, where: ModelOptions, how: Options, system: str | None, drop_oldest: bool, as_json: bool
) -> None:
    """Print the answer to QUESTION; without one, hold a conversation.

    \b
    arrayformer chat -m smollm2 "What is the capital of France?"
    arrayformer chat -m smollm2

    In a terminal Ctrl-C ends an answer, and Ctrl-D the conversation; /help says what else there is. From a pipe each
    line is a message.
    """
    from arrayformer.chat import Message
    from arrayformer.commands.output import alone_on_stdout
    from arrayformer.commands.prompts import lines_of_standard_input
    from arrayformer.commands.writing import print_json, print_stream

    if how["logprobs"] is not None and not as_json:
        raise click.UsageError("--logprobs needs --json: there is no place for numbers in plain text")
    how = with_length(how)
    with alone_on_stdout():
        begin: list[Message] = [] if system is None else [{"role": "system", "content": system}]
        conversation = where.load().conversation(begin, drop_oldest=drop_oldest)
        if question is None and not as_json and sys.stdin is not None and sys.stdin.isatty():
            from arrayformer.commands.talking import Talk

            Talk(conversation, how).run()
            return
        messages = lines_of_standard_input() if question is None else [question]
        for number, message in enumerate(line for line in messages if line.strip()):
            if as_json:
                print_json(number, conversation.ask(message, **how))
            else:
                print_stream(conversation.stream(message, **how))


def with_length(how: Options) -> Options:
    """Where nothing else was said an answer ends after DEFAULT_LENGTH ids, or where the context does."""
    length = DEFAULT_LENGTH if how["max_new_tokens"] is None else how["max_new_tokens"]
    return {**how, "max_new_tokens": length, "on_full": how["on_full"] or "stop"}
