"""Conversations: what is read, what is kept, and what happens where a turn breaks off."""

import pytest

import arrayformer
from arrayformer.api import Model
from arrayformer.chat import Conversation
from arrayformer.core.errors import InputError

OPTIONS = {"max_new_tokens": 12, "temperature": 0.8, "seed": 4, "ignore_eos": True}
QUESTIONS = ["Who lives in the wood?", "Why?", "And then?"]


class Script:
    """Each message as a line of its own, after who says it."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer

    def ids(self, messages):
        if any(message["role"] == "tool" for message in messages):
            raise InputError("this template knows no role 'tool'")
        lines = [f"{message['role']}:{message['content']}\n" for message in messages] + ["assistant:"]
        return [id for line in lines for id in self.tokenizer.encode(line)]


@pytest.fixture(scope="module")
def model():
    fable = arrayformer.load()
    return Model(fable.config, fable.engine, fable.tokenizer, Script(fable.tokenizer))


def read_of(monkeypatch):
    """The list to which each step appends how many ids it reads."""
    from arrayformer.core.engine import Context

    counts, draw = [], Context.draw

    def counting(self, rows, *rest):
        counts.append(sum(map(len, rows)))
        return draw(self, rows, *rest)

    monkeypatch.setattr(Context, "draw", counting)
    return counts


@pytest.mark.parametrize("temperature", [0, 0.8])
def test_three_turns_are_the_same_as_the_conversation_read_anew(model, temperature):
    options, conversation = {**OPTIONS, "temperature": temperature}, model.conversation()

    answers = [conversation.ask(question, **options) for question in QUESTIONS]

    said = []
    for question, answer in zip(QUESTIONS, answers, strict=True):
        said.append({"role": "user", "content": question})
        assert model.chat(said, **options) == answer
        assert "".join(model.stream_chat(said, **options)) == answer.text
        said.append({"role": "assistant", "content": answer.text})
    assert conversation.messages == said


def test_only_what_is_new_is_read(model, monkeypatch):
    conversation, counts = model.conversation(), read_of(monkeypatch)
    before, had = conversation.ask("Who lives in the wood?", **{**OPTIONS, "temperature": 0}), 0
    assert sum(counts) == conversation.n_read == len(before.prompt_ids) + 11

    for question in QUESTIONS[1:]:
        had = sum(counts)
        answer = conversation.ask(question, **{**OPTIONS, "temperature": 0})
        new = len(answer.prompt_ids) - len(before.prompt_ids) - len(before.ids)
        # The last id that was drawn was not read yet. That of the line's end may have become one with it.
        assert new + 11 < sum(counts) - had <= new + 11 + 3
        before = answer
    assert sum(counts) == conversation.n_read


def test_a_conversation_that_grows_gets_a_larger_context(model, monkeypatch):
    monkeypatch.setattr("arrayformer.chat.FIRST_CAPACITY", 8)
    conversation = model.conversation()

    answers = [conversation.ask(question, **OPTIONS) for question in QUESTIONS]

    again = model.conversation()
    monkeypatch.undo()
    assert [again.ask(question, **OPTIONS) for question in QUESTIONS] == answers


def test_what_does_not_fit_is_refused_or_the_oldest_turns_are_left_out(model):
    system = {"role": "system", "content": "A story."}
    long = [{"role": role, "content": "word " * 90} for _ in range(3) for role in ("user", "assistant")]

    with pytest.raises(InputError, match=r"the conversation has \d+ ids and this model's context is 512: begin a new"):
        model.conversation([system, *long]).ask("And?", **OPTIONS)
    answer = model.conversation([system, *long], drop_oldest=True).ask("And?", **OPTIONS)

    assert len(answer.ids) == 12
    assert answer.prompt_ids == model.chat_template.ids([system, *long[2:], {"role": "user", "content": "And?"}])
    with pytest.raises(InputError, match="the conversation has"):
        model.chat([{"role": "user", "content": "word " * 600}], drop_oldest=True)


def test_an_interrupted_answer_counts_as_far_as_it_came(model):
    conversation = model.conversation()
    stream = conversation.stream("Who?", **OPTIONS)
    pieces = [next(stream), next(stream)]
    stream.interrupt()
    pieces += stream

    assert conversation.messages[1] == {"role": "assistant", "content": "".join(pieces)}
    following = conversation.ask("Why?", **OPTIONS)
    assert following == model.chat(conversation.messages[:3], **OPTIONS)


def test_a_turn_without_an_answer_never_was(model, monkeypatch):
    conversation = model.conversation()
    conversation.ask("Who?", **OPTIONS)
    kept = conversation.messages
    with monkeypatch.context() as patch:
        patch.setattr("arrayformer.core.engine.Context.draw", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            conversation.ask("Why?", **OPTIONS)
    conversation.stream("Never listened to", **OPTIONS)

    assert conversation.messages == kept
    assert conversation.ask("Why?", **OPTIONS) == model.chat([*kept, {"role": "user", "content": "Why?"}], **OPTIONS)


def test_a_conversation_begins_anew(model):
    conversation = model.conversation()
    first = conversation.ask("Who?", **OPTIONS)
    conversation.ask("Why?", **OPTIONS)
    conversation.reset()

    assert conversation.messages == []
    assert conversation.ask("Who?", **OPTIONS) == first


@pytest.mark.parametrize(
    "messages",
    ["Hello", {"role": "user", "content": "a"}, None, ["Hello"], [{"role": "user"}], [{"role": "user", "content": 3}]],
)
def test_messages_that_are_none_are_refused(model, messages):
    with pytest.raises(InputError, match="message"):
        model.chat(messages)


def test_what_a_template_or_an_option_refuses_is_refused_and_nothing_is_lost(model):
    conversation = model.conversation([{"role": "user", "content": "a"}])

    with pytest.raises(InputError, match="knows no role 'tool'"):
        model.chat([{"role": "tool", "content": "a"}])
    with pytest.raises(TypeError, match=r"Model\.chat\(\).*'temprature'"):
        model.chat([], temprature=1)
    with pytest.raises(TypeError, match=r"Conversation\.stream\(\).*'temprature'"):
        conversation.ask("b", temprature=1)
    with pytest.raises(InputError, match="oldest turns"):
        conversation.ask("b", on_full="slide", max_new_tokens=3)
    assert len(conversation.messages) == 1


def test_a_model_without_a_template_knows_no_conversation(model):
    plain = Model(model.config, model.engine, model.tokenizer)

    for begin in (plain.conversation, lambda: plain.chat([]), lambda: Conversation(plain)):
        with pytest.raises(InputError, match="no chat template"):
            begin()
