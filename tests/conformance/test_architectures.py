"""Which architectures are proven, on which probes, and what counts for whom."""

import os
import subprocess
import sys

import numpy as np
import pytest

from arrayformer.conformance.criterion import architectures
from arrayformer.conformance.criterion.oracle import Taps, reference
from arrayformer.conformance.criterion.probes import decisive, probe, probes_of
from arrayformer.conformance.run.case import counts_for, find_case, select
from arrayformer.conformance.run.result import Result, levels
from arrayformer.core.errors import InputError
from arrayformer.core.params import walk

OTHERS = [name for name in architectures.names() if name != "gpt2"]


def test_each_built_in_page_is_one_architecture_whatever_model_types_it_has():
    assert architectures.names()[:5] == ("gpt2", "llama", "gemma", "olmo2", "gpt_neox")
    assert architectures.named(["qwen3", "llama", "gemma3_text"]) == ("llama", "gemma")
    with pytest.raises(InputError, match="there are gpt2, llama"):
        architectures.named(["bert"])


@pytest.mark.parametrize("name", OTHERS)
def test_what_a_page_uses_is_used_by_one_of_the_fewest_probes(name):
    chosen = architectures.fewest(name, None)
    models = architectures.probes(name)

    assert frozenset().union(*(architectures.uses(models[p]) for p in chosen)) == architectures.used_by(name)
    assert all(decisive(probe(p)) for p in chosen)


def test_a_graph_uses_what_its_page_says():
    models = architectures.probes("gemma")

    assert {"rms_norm", "gated", "gelu", "cap", "window", "grouped"} <= architectures.uses(models["gemma2"])
    assert "cap" not in architectures.uses(models["gemma3"])
    assert {"several rotations", "norm of heads"} <= architectures.uses(models["gemma3"])
    assert "unrotated layers" in architectures.uses(architectures.probes("llama")["smollm3"])
    assert not {"rotate", "gated", "grouped"} & architectures.used_by("gpt2")


@pytest.mark.parametrize("name", ["llama-3", "gemma2", "gemma3", "olmo2", "neox"])
def test_the_stream_of_a_probe_begins_around_1_however_its_page_scales_the_embedding(name):
    taps, ref = Taps(), reference(name)
    ref.exact([probe(name).rows()[0]], taps)

    assert 0.7 < np.std(taps.seen["embed"]) < 1.4


@pytest.mark.parametrize("name", ["llama-quiet", "gemma-quiet", "gpt_neox-quiet"])
def test_a_quiet_probe_has_embeddings_of_variance_1e_6_or_less(name):
    taps, ref = Taps(), reference(name)
    ref.exact([probe(name).rows()[0]], taps)

    assert np.std(taps.seen["embed"]) < 2e-3


@pytest.mark.parametrize("name", ["llama-loud", "gemma-loud", "olmo2-loud", "gpt_neox-loud"])
def test_a_loud_probe_has_scores_that_would_overflow_without_their_maximum(name):
    taps, ref = Taps(), reference(name)
    ref.exact([probe(name).rows()[0]], taps)

    q, k = (np.abs(taps.seen[f"h.0.attn.{x}_rotated"]).max() for x in "qk")
    assert q * k > 100


def test_a_seed_is_told_from_a_name_that_ends_alike():
    assert probe("llama-scaled").seed == probe("neox-serial").seed == 0
    assert (probe("llama-scaled-s3").seed, probe("llama-scaled-s3").name) == (3, "llama-scaled-s3")
    first, other = (dict(walk(probe(name).params())) for name in ("qwen3", "qwen3-s1"))
    assert not np.array_equal(first["wte"], other["wte"])


def test_a_case_counts_for_the_architectures_that_use_what_it_is_about():
    assert [counts_for(find_case("L1-rotate"), name) for name in ("gpt2", "llama", "gpt_neox")] == [False, True, True]
    assert [counts_for(find_case("L2-logits[gemma3]"), name) for name in ("gemma", "llama")] == [True, False]
    assert all(counts_for(find_case("L3-fork"), name) for name in architectures.names())


def test_the_cases_of_one_architecture_are_its_own_and_those_of_all():
    ids = [case.id for case in select(None, (), ("llama",))]

    assert {f"L2-logits[{name}]" for name in probes_of("llama")} <= set(ids)
    assert {"L1-rotate", "L1-window", "L3-fork", "L3-ragged[mistral]"} <= set(ids)
    assert not {"L1-cap", "L2-logits[p1]", "L2-logits[gemma2]", "L4-greedy"} & set(ids)


def test_a_level_is_awarded_for_each_architecture():
    results = [
        Result("L0-a", 0, "", architectures=["gpt2", "llama"]),
        Result("L1-b", 1, "", architectures=["gpt2", "llama"]),
        Result("L1-rotate", 1, "", "failed", architectures=["llama"]),
        Result("L2-c", 2, "", architectures=["gpt2"]),
    ]

    assert levels(results) == {"gpt2": 2, "llama": 0}


TINY = """
from dataclasses import dataclass
from arrayformer.core.models.llama import Llama
from arrayformer.core.models.rope import Rope
from arrayformer.core.plugins.hooks import hookimpl


@dataclass(frozen=True)
class Tiny(Llama):
    @classmethod
    def probes(cls):
        rope = Rope(1e4, 6)
        return {"p1": cls(31, 8, 16, 2, 2, 1, 6, 20, rope), "tiny-b": cls(31, 8, 16, 2, 2, 2, 6, 20, rope)}


@hookimpl
def register_models(register):
    register("tiny", Tiny)
"""


def with_plugin(folder, source, code):
    """Run `code` where a package that announces the model "tiny" is installed."""
    info = folder / "my_tiny-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-tiny\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[arrayformer.models]\ntiny = my_tiny\n")
    (folder / "my_tiny.py").write_text(source)
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )


def test_a_plugins_page_is_proven_on_its_own_probes_under_its_own_name(tmp_path):
    code = (
        "from arrayformer.conformance.run.case import find_case, select; "
        "from arrayformer.conformance.run.in_process import run_case; "
        "from arrayformer.conformance.run.subject import Subject; "
        "from arrayformer.backends.numpy.backend import NumpyBackend; "
        "print([c.id for c in select(2, ('L2-logits',), ('tiny',))]); "
        "print(run_case(find_case('L2-logits[tiny-p1]'), Subject(NumpyBackend)).outcome)"
    )

    done = with_plugin(tmp_path, TINY, code)

    assert done.returncode == 0, done.stderr
    names = ("tiny-p1", "tiny-b", "tiny-quiet", "tiny-loud")
    assert done.stdout.splitlines() == [str([f"L2-logits[{name}]" for name in names]), "passed"]


def test_a_run_on_gpt2_imports_no_plugins_page_and_a_broken_one_is_left_out(tmp_path):
    code = (
        "import sys; from arrayformer.conformance.run.case import all_cases, find_case, select; "
        "select(None, (), ('gpt2',)); find_case('L2-logits[p1]'); "
        "from arrayformer.conformance.criterion.probes import probe; probe('p2-s1'); "
        "assert 'my_tiny' not in sys.modules; "
        "from arrayformer.conformance.criterion.architectures import named, names; "
        "print(names()); named(['tiny'])"
    )

    done = with_plugin(tmp_path, "raise ImportError('no such thing')", code)

    assert done.stdout.strip() == str(tuple(name for name in architectures.names() if name != "tiny"))
    assert "PluginError" in done.stderr
    assert "my-tiny 1.0" in done.stderr
