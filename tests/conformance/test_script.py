"""The script of a failure runs on the library alone: 1 with the fault, 0 without it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from arrayformer.conformance.criterion.oracle import Taps, reference
from arrayformer.conformance.diagnosis.first_wrong import first_divergence
from arrayformer.conformance.diagnosis.recorded import step_of
from arrayformer.conformance.run.spec import BackendSpec
from arrayformer.conformance.run.subject import Subject

OWN = re.compile(r"\n(from [^\n]*as Backend\n\n)?[^\n]*# the backend's own function\n")


@pytest.mark.parametrize(
    ("name", "probe", "tap"),
    [
        ("erf_gelu", "p3", "h.0.mlp.act"), ("tf32", "p3", "h.0.attn.qkv"), ("rope_neighbours", "neox", "q_rotated"),
        ("rms_1_plus_w", "gemma3", "h.0.ln_1"), ("heads_tiled", "mistral", "scores"),
        ("window_one_more", "gemma2", "probs"), ("gate_added", "olmo2", "h.0.mlp.act"),
    ],
)  # fmt: skip
def test_a_script_ends_with_1_on_the_wrong_function_and_with_0_on_the_librarys(name, probe, tap, tmp_path):
    subject = Subject.of(BackendSpec(f"arrayformer.conformance.wrong:{name}"))
    found = first_divergence(subject, probe, None)

    script = Path(found.write(tmp_path, subject)[0])
    text = script.read_text()
    right = script.with_name("right.py")
    right.write_text(OWN.sub("\n", text))

    assert found.tap.endswith(tap)
    assert "arrayformer" not in right.read_text()
    assert [subprocess.run([sys.executable, file], check=False).returncode for file in (script, right)] == [1, 0]


@pytest.mark.parametrize("name", ["p3", "gemma3", "olmo2", "neox", "qwen3"])
def test_it_is_known_how_each_tensor_of_a_graph_is_made(name):
    ref, taps = reference(name), Taps()
    ids = ref.probe.rows()[0]
    ref.exact([ids], taps)

    last = [tap for tap in taps.seen if tap.startswith(f"h.{ref.config.n_layer - 1}.")]
    assert all(step_of(ref, ids, tap) for tap in ["embed", *last, "ln_f", "logits"])
