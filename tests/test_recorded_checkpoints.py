"""Trained checkpoints that others wrote, against what another implementation recorded for them.

    ARRAYFORMER_CHECKPOINTS=DIRECTORY pytest tests/test_recorded_checkpoints.py

Each folder in DIRECTORY is a checkpoint in Hugging Face's form with a `golden_hf.json`:
{"cases": [{"input_ids": [...], "greedy_ids": [...], "last_logits_top": [[id, logit], ...]}, ...]}, where `greedy_ids`
begins with the input and `last_logits_top` holds the largest logits after it.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arrayformer.backends.registry import get_backend
from arrayformer.core.checkpoint import read_checkpoint
from arrayformer.core.engine import Engine

ROOT = os.environ.get("ARRAYFORMER_CHECKPOINTS")
FOLDERS = sorted(path.parent for path in Path(ROOT).glob("*/golden_hf.json")) if ROOT else []

pytestmark = pytest.mark.skipif(not FOLDERS, reason="ARRAYFORMER_CHECKPOINTS names no directory of checkpoints")


@pytest.fixture(params=FOLDERS or [Path("none")], ids=lambda folder: folder.name)
def recorded(request: pytest.FixtureRequest) -> tuple[Engine, list[dict[str, Any]]]:
    """A checkpoint's engine on NumPy, and what was recorded for it."""
    folder = request.param
    config, params = read_checkpoint(folder)
    return Engine(config, params, get_backend("numpy")), json.loads((folder / "golden_hf.json").read_text())["cases"]


def test_the_largest_logits_are_those_recorded(recorded: tuple[Engine, list[dict[str, Any]]]) -> None:
    engine, cases = recorded
    for case in cases:
        ids, wanted = zip(*case["last_logits_top"], strict=True)

        logits = np.asarray(engine.logits(case["input_ids"]))[-1]

        assert list(np.argsort(-logits)[: len(ids)]) == list(ids)
        np.testing.assert_allclose(logits[list(ids)], wanted, rtol=1e-5, atol=2e-5)


def test_greedy_continuations_are_those_recorded(recorded: tuple[Engine, list[dict[str, Any]]]) -> None:
    engine, cases = recorded
    for case in cases:
        ids = list(case["input_ids"])

        while len(ids) < len(case["greedy_ids"]):
            ids.append(int(np.argmax(np.asarray(engine.logits(ids))[-1])))

        assert ids == case["greedy_ids"]
