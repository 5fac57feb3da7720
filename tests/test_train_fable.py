"""The training example: its parts, and a run of a few steps from text to a model that loads."""

import lzma
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax")
pytest.importorskip("optax")
pytest.importorskip("tokenizers")
pytest.importorskip("matplotlib")

from examples.train_fable.__main__ import main  # noqa: E402
from examples.train_fable.corpus import batch, documents, read_text  # noqa: E402
from examples.train_fable.network import grow, lengthen  # noqa: E402
from examples.train_fable.optimiser import Schedule, join_qkv, split_qkv  # noqa: E402
from examples.train_fable.report import read_log  # noqa: E402
from examples.train_fable.scoring import bits_per_byte, window_starts  # noqa: E402

from arrayformer.core.checkpoint import read_checkpoint  # noqa: E402
from arrayformer.core.errors import InputError  # noqa: E402
from arrayformer.core.models.gpt2 import GPT2, gpt2  # noqa: E402
from arrayformer.core.params import map_params, random_params, walk  # noqa: E402
from arrayformer.tokenizer import load_tokenizer  # noqa: E402

STEPS = 12
SIZES = "--vocab 300 --width 16 --heads 2 --layers 1 --context 32 --window 16 --batch-tokens 128 --stride 16"
PACE = f"--steps {STEPS} --warmup 2 --decay 4 --log-every 2 --validate-every 6 --rate 0.02 --adam-rate 0.02"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    rng = random.Random(0)
    words = ["the", "a", "fox", "crow", "sang", "and", "said:", "café\u2009naïve", "I'll", "don't", "12", "\U0001f98a"]

    def stories(n: int) -> str:
        return "\n\n<|endoftext|>\n\n".join(" ".join(rng.choices(words, k=60)) + "." for _ in range(n))

    (folder / "train.txt").write_text(stories(30), encoding="utf-8")
    (folder / "valid.txt.xz").write_bytes(lzma.compress(stories(3).encode()))
    return folder


@pytest.fixture(scope="module")
def run(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Trains into a fresh folder, once for each set of calls."""
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("compiled")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)

    def train(*calls: str) -> Path:
        out = tmp_path_factory.mktemp("run")
        for options in calls:
            main(["--corpus", str(corpus), "--out", str(out), *SIZES.split(), *PACE.split(), *options.split()])
        return out

    yield train
    jax.config.update("jax_compilation_cache_dir", None)


@pytest.fixture(scope="module")
def trained(run: Any) -> Path:
    return run("")


def test_a_short_run_lowers_the_loss(trained: Path) -> None:
    log = read_log(trained)

    assert log[-1]["step"] == STEPS
    assert log[-1]["loss"] < log[0]["loss"] - 0.2
    assert log[-1]["bits_per_byte"] < log[2]["bits_per_byte"]
    assert [entry["rate"] for entry in log][-2:] == [0.75, 0.25]


def test_a_resumed_run_ends_with_the_same_parameters(trained: Path, run: Any) -> None:
    out = run("--stop-after 5", "--resume")

    assert read_log(out)[-1]["step"] == STEPS
    with np.load(trained / "checkpoint.npz") as whole, np.load(out / "checkpoint.npz") as resumed:
        assert whole.files == resumed.files
        for name in whole.files:
            if name != "progress":
                np.testing.assert_array_equal(resumed[name], whole[name], err_msg=name)


def test_a_file_named_decay_now_ends_the_run_early(run: Any, corpus: Path) -> None:
    out = run("--stop-after 1")
    (out / "decay_now").touch()

    main(["--corpus", str(corpus), "--out", str(out), *SIZES.split(), *PACE.split(), "--resume"])

    assert read_log(out)[-1]["step"] == 1 + 4
    assert (out / "export" / "model.safetensors").exists()


def test_the_exported_model_loads_and_foretells_as_well_as_its_card_says(trained: Path, corpus: Path) -> None:
    config, params = read_checkpoint(trained / "export")
    tokenizer = load_tokenizer(trained / "export")
    text = read_text(corpus, "valid")
    ids = np.array(tokenizer.encode(text, allowed_special=["<|endoftext|>"]))

    def nats(params: Any, ids: np.ndarray) -> np.ndarray:
        logits = np.asarray(gpt2(ids[:, :-1], **params, n_head=config.n_head), dtype=np.float64)
        right = np.take_along_axis(logits, ids[:, 1:, None].astype(np.int64), axis=-1)[..., 0]
        total: np.ndarray = np.log(np.exp(logits).sum(axis=-1))
        return total - right

    wide = map_params(lambda x: x.astype(np.float32), params)
    eos = config.n_vocab - 1
    score = bits_per_byte(nats, wide, ids, len(text.encode()), eos=eos, window=32, stride=16)

    assert config == GPT2(300, 32, 16, 2, 1, eos_token_id=299)
    assert tokenizer.eos_id == eos
    assert tokenizer.decode(ids.tolist()) == text
    assert f"{score:.3f}" in (trained / "export" / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "holds a run already"),
        ("--resume --layers 0", "can only become more"),
        ("--resume --window 12", "must divide"),
        ("--resume --vocab 70000", "to 65536"),
        ("--resume --corpus nowhere", "nowhere has neither train.txt nor train.txt.xz"),
        ("--resume --out nowhere", "nowhere holds no checkpoint.npz"),
    ],
)
def test_options_that_cannot_be_are_refused(
    options: str, message: str, trained: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--corpus", str(corpus), "--out", str(trained), *SIZES.split(), *options.split()])

    assert message in capsys.readouterr().err


def test_a_checkpoint_of_another_width_is_refused(trained: Path, corpus: Path) -> None:
    with pytest.raises(InputError, match=r"wte.*\(300, 16\).*\(300, 32\)"):
        main(["--corpus", str(corpus), "--out", str(trained), *SIZES.split(), "--resume", "--width", "32"])


def test_the_log_is_plain_lines_where_there_is_no_terminal(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run("--stop-after 2")

    assert "step 2 tokens 256" in capsys.readouterr().err


def test_growing_keeps_the_function() -> None:
    params = random_params(GPT2(n_vocab=11, n_ctx=8, n_embd=8, n_head=2, n_layer=2).weights())
    grown = grow(jax.tree.map(jax.numpy.asarray, params), 5)

    assert len(grown["blocks"]) == 5
    ids = [3, 1, 4, 1, 5]
    np.testing.assert_allclose(gpt2(ids, **grown, n_head=2), gpt2(ids, **params, n_head=2), rtol=1e-5, atol=1e-6)


def test_positions_no_window_reached_copy_some_that_one_did() -> None:
    wpe = np.arange(10.0)[:, None]

    assert lengthen({"wpe": wpe}, 4)["wpe"][:, 0].tolist() == [0, 1, 2, 3, 2, 3, 2, 3, 2, 3]
    assert lengthen({"wpe": wpe}, 10)["wpe"][:, 0].tolist() == wpe[:, 0].tolist()


def test_splitting_and_joining_qkv_gives_the_weights_back() -> None:
    params = random_params(GPT2(n_vocab=5, n_ctx=4, n_embd=6, n_head=2, n_layer=1).weights())
    split = split_qkv(params)

    assert split["blocks"][0]["attn"]["c_attn"]["w"].shape == (6, 3, 6)
    for (path, got), (_, want) in zip(walk(join_qkv(split)), walk(params), strict=True):
        np.testing.assert_array_equal(got, want, err_msg=path)


@pytest.mark.parametrize(("n", "window", "stride"), [(2, 1, 1), (10, 9, 4), (100, 16, 16), (101, 16, 5), (33, 32, 16)])
def test_every_id_after_the_first_is_counted_once(n: int, window: int, stride: int) -> None:
    starts, counts = window_starts(n, window, stride)

    ends = [start + window for start in starts]
    counted = [id for end, count in zip(ends, counts, strict=True) for id in range(end - count + 1, end + 1)]
    assert counted == list(range(1, n))
    assert min(starts) >= 0


def test_a_model_that_knows_nothing_needs_the_logarithm_of_its_vocabulary() -> None:
    ids = np.arange(50) % 7

    def flat(params: Any, ids: np.ndarray) -> np.ndarray:
        return np.full((len(ids), ids.shape[1] - 1), math.log(8))

    assert bits_per_byte(flat, {}, ids, 50, eos=7, window=16, stride=4) == pytest.approx(3.0)


def test_an_epoch_reads_every_chunk_once_and_the_next_in_another_order() -> None:
    ids = np.arange(8 * 20 + 1, dtype=np.uint16)

    epochs = [[batch(ids, start, (2, 4), 8, seed=1) for start in range(e * 160, (e + 1) * 160, 8)] for e in range(2)]

    for epoch in epochs:
        assert sorted(np.concatenate(epoch)[:, :-1].ravel()) == list(range(160))
    assert not np.array_equal(epochs[0], epochs[1])
    np.testing.assert_array_equal(batch(ids, 40, (2, 4), 8, seed=1), epochs[0][5])
    np.testing.assert_array_equal(epochs[0][0][:, 1:-1] + 1, epochs[0][0][:, 2:])


def test_the_learning_rate_rises_stays_and_falls_to_nothing() -> None:
    schedule = Schedule(warmup=4, decay=10)

    assert [schedule.rate(step, 0, None) for step in (0, 1, 3, 50)] == [0.25, 0.5, 1.0, 1.0]
    assert [schedule.rate(step, 0, 100) for step in (100, 105, 110)] == [1.0, 0.5, 0.0]
    assert schedule.rate(51, 50, None) == 0.5


def test_documents_come_without_the_blank_lines_around_them() -> None:
    assert documents("\n\none\n\ntwo\n\n<|endoftext|>\n\nthree\n\n<|endoftext|>\n") == ["one\n\ntwo", "three"]
