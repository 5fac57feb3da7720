"""Architectures of other packages are found by their model_type; a broken one is named and stops no other."""

import json

import pytest
from tests.backends.conftest import install, site
from tests.core.models.families import base

from arrayformer.core.checkpoint import read_checkpoint, save_checkpoint
from arrayformer.core.checkpoint.config_file import model_from_hf
from arrayformer.core.errors import BackendError, ConfigError
from arrayformer.core.models.registry import find_model, list_models
from arrayformer.core.params import random_params

__all__ = ["install", "site"]

GOOD = """
from dataclasses import dataclass
from arrayformer import hookimpl
from arrayformer.core.models.llama import Llama

@dataclass(frozen=True)
class Acme(Llama):
    model_type: str = "acme"

    @classmethod
    def from_hf(cls, keys):
        n = keys.size("n")
        from arrayformer.core.models.rope import Rope
        return cls(n, n, n, 1, 1, 1, n, n, rope=Rope(1e4, n))

    def to_hf(self):
        return {"model_type": "acme", "n": self.n_vocab}

@hookimpl
def register_models(register):
    register("acme", Acme)
"""

HOOK = "from arrayformer import hookimpl\n@hookimpl\ndef register_models(register):\n    "


def offered(install, source, name="acme", distribution="acme-af"):
    """A distribution of one module whose entry point offers an architecture."""
    module = distribution.replace("-", "_")
    install(source, distribution=distribution, points=f"[arrayformer.models]\n{name} = {module}\n")


def test_a_model_of_another_package_is_found_listed_saved_and_read(install, tmp_path):
    offered(install, GOOD)

    model = model_from_hf({"model_type": "acme", "n": 8}, "config.json")
    save_checkpoint(tmp_path / "model", model, random_params(model.weights()))

    assert type(model) is find_model("acme")
    assert ("acme", "acme-af") in [(info.name, info.distribution) for info in list_models()]
    assert json.loads((tmp_path / "model" / "config.json").read_text())["model_type"] == "acme"
    assert read_checkpoint(tmp_path / "model")[0] == model


FAULTS = {
    "a module that fails": ("1 / 0", "ZeroDivisionError"),
    "a module that exits": ("raise SystemExit(3)", "SystemExit: 3"),
    "no hook": ("pass", "is its function marked with @arrayformer.hookimpl?"),
    "the hook of a backend": (HOOK.replace("models", "backends") + "register('acme', dict)", "registers is nothing"),
    "a hook that registers nothing": (HOOK + "pass", "it registers is nothing"),
    "another name": (HOOK + "register('other', dict)", "it registers is 'other'"),
    "one name twice": (HOOK + "register('acme', dict); register('acme', dict)", "it registers 'acme' 2 times"),
    "what is no class": (HOOK + "register('acme', len)", "no subclass of arrayformer.core.architecture.Architecture"),
    "another class": (HOOK + "register('acme', dict)", "no subclass of arrayformer.core.architecture.Architecture"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_model_plugin_is_one_error_that_names_it(install, fault):
    source, says = FAULTS[fault]
    offered(install, source)

    with pytest.raises(BackendError) as caught:
        find_model("acme")

    assert says in str(caught.value)
    assert "acme-af 0.9.0" in str(caught.value)
    assert find_model("llama").__name__ == "Llama"
    assert model_from_hf(base("qwen2"), "config.json").n_vocab == 97


def test_two_packages_of_one_name_are_refused_and_both_are_named(install):
    offered(install, GOOD)
    offered(install, GOOD, distribution="other-af")

    with pytest.raises(BackendError, match="two installed packages both provide the model 'acme'") as caught:
        find_model("acme")

    assert "acme-af" in str(caught.value)
    assert "other-af" in str(caught.value)


def test_a_plugin_cannot_take_the_name_of_an_architecture_that_is_built_in(install):
    offered(install, GOOD.replace('"acme"', '"llama"'), name="llama")

    assert find_model("llama").__module__ == "arrayformer.core.models.llama"
    assert [info.status for info in list_models() if info.distribution == "acme-af"] == ["refused"]


def test_a_config_that_its_page_refuses_names_the_file(install):
    offered(install, GOOD)

    with pytest.raises(ConfigError, match=r"^config.json: n is 'many'; it must be an integer"):
        model_from_hf({"model_type": "acme", "n": "many"}, "config.json")
