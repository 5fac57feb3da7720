"""The protocols against transformers: the same windows, cut and scored by other code."""

import math
from typing import Any

import numpy as np
import pytest

from arrayformer.core.params import Params
from arrayformer.evaluate import lambada, wikitext
from arrayformer.evaluate.protocols import PROTOCOLS
from arrayformer.evaluate.run import evaluate
from arrayformer.evaluate.score import WindowScorer
from arrayformer.evaluate.source import Text
from arrayformer.evaluate.windows import every_id
from arrayformer.tokenizer import Tokenizer

from .conftest import MakeEngine

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def model(params: Params, make_engine: MakeEngine) -> Any:
    torch.set_num_threads(1)
    c = make_engine().config
    other = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=c.n_vocab, n_positions=c.n_ctx, n_embd=c.n_embd, n_head=c.n_head, n_layer=c.n_layer,
            attn_implementation="eager", bos_token_id=259, eos_token_id=259,
        )
    )  # fmt: skip
    names = {"w": "weight", "g": "weight", "b": "bias"}
    state = {"transformer.wte.weight": params["wte"], "transformer.wpe.weight": params["wpe"]}
    state |= {f"transformer.ln_f.{names[k]}": v for k, v in params["ln_f"].items()}
    for i, block in enumerate(params["blocks"]):
        flat = {"ln_1": block["ln_1"], "ln_2": block["ln_2"]}
        flat |= {f"{part}.{name}": leaf for part in ("attn", "mlp") for name, leaf in block[part].items()}
        state |= {f"transformer.h.{i}.{n}.{names[k]}": v for n, leaf in flat.items() for k, v in leaf.items()}
    missing, unexpected = other.load_state_dict({k: torch.tensor(v) for k, v in state.items()}, strict=False)
    assert (missing, unexpected) == (["lm_head.weight"], [])
    return other.eval()


def nll(model: Any, inputs: Any, targets: Any) -> Any:
    """-ln p of targets[i] after inputs[: i + 1], float64"""
    with torch.no_grad():
        logits = model(torch.tensor([inputs])).logits[0].double()
        return torch.nn.functional.cross_entropy(logits, torch.tensor(targets), reduction="none").numpy()


def test_text_agrees_token_by_token(model: Any, make_engine: MakeEngine, tokenizer: Tokenizer, story: Text) -> None:
    engine = make_engine()
    windows = list(every_id(tokenizer.encode(story.text, allowed_special=["<|endoftext|>"]), 259, 32, 16))

    ours = np.concatenate(WindowScorer(engine, len(windows), 32).per_id(windows)[0])

    ids = tokenizer.encode(story.text, allowed_special=["<|endoftext|>"])
    stream = [259, *ids]
    theirs: list[float] = []
    while len(theirs) < len(ids):
        end = min(len(ids), len(theirs) + (16 if theirs else 32))
        begin = max(0, end - 32)
        theirs.extend(nll(model, stream[begin:end], ids[begin:end])[len(theirs) - begin :])
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_wikitext2_agrees_with_the_loop_of_the_transformers_guide(
    model: Any, make_engine: MakeEngine, tokenizer: Tokenizer
) -> None:
    raw = " \n = Heron = \n \n " + "the heron thought of a fish , and a mat . \n " * 6
    text = Text(raw, len(raw), "0" * 64, True, "wiki")

    result = evaluate(make_engine(), tokenizer, PROTOCOLS["wikitext2-raw"], text)

    ids = torch.tensor([tokenizer.encode(wikitext.joined(raw))])
    total, n, before = 0.0, 0, 0
    for begin in range(0, ids.shape[1], 32):
        end = min(begin + 32, ids.shape[1])
        labels = ids[:, begin:end].clone()
        labels[:, : -(end - before)] = -100
        scored = int((labels[:, 1:] != -100).sum())
        if scored:
            with torch.no_grad():
                total += float(model(ids[:, begin:end], labels=labels).loss) * scored
        n, before = n + scored, end
    assert result.totals.n == n
    assert result.figures()["token_perplexity"].value == pytest.approx(math.exp(total / n), rel=1e-5)


def test_wikitext103_agrees_per_original_word(model: Any, make_engine: MakeEngine, tokenizer: Tokenizer) -> None:
    raw = " \n = Heron = \n \n A heron 's 1 @,@ 000 fish , and the mat . \n \n = Mat = \n " + "the mat . \n" * 20
    text = Text(raw, len(raw), "0" * 64, True, "wiki")

    result = evaluate(make_engine(), tokenizer, PROTOCOLS["wikitext103"], text)

    total = 0.0
    for page in wikitext.pages(raw):
        ids = tokenizer.encode(wikitext.detokenize(page))
        for begin in range(0, len(ids), 32):
            end = min(begin + 32, len(ids))
            start = max(0, end - 32)
            total += nll(model, [259, *ids][start:end], ids[start:end])[begin - start :].sum()
    words = sum(map(wikitext.count_words, wikitext.pages(raw)))
    assert math.log(result.figures()["word_perplexity"].value) == pytest.approx(total / words, rel=1e-5)


def test_the_last_token_of_a_passage_agrees(model: Any, make_engine: MakeEngine, tokenizer: Tokenizer) -> None:
    passages = ["the cat sat on the mat", "a fish thought of the cat", "one, two, three fish"]
    lines = "\n".join(f'{{"text": "{p}"}}' for p in passages)

    result = evaluate(make_engine(), tokenizer, PROTOCOLS["lambada-token"], Text(lines, 0, "0" * 64, True, "l"))

    encoded = [tokenizer.encode(p) for p in lambada.passages(lines)]
    assert result.totals.loss == pytest.approx(sum(nll(model, ids[:-1], ids[1:])[-1] for ids in encoded), rel=1e-6)
