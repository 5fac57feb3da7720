"""The fuzzer's oracle on some hundred changed files, so that it cannot rot."""

import importlib.util
from pathlib import Path

import pytest

_PATH = Path(__file__).parents[1] / "fuzz" / "fuzz_tokenizer.py"
_SPEC = importlib.util.spec_from_file_location("fuzz_tokenizer", _PATH)
assert _SPEC is not None
assert _SPEC.loader is not None
fuzz = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(fuzz)


@pytest.mark.parametrize("seed", range(4))
def test_changed_files_and_texts_are_refused_or_come_back(seed):
    fuzz.run_without_atheris(150, seed)


def test_the_unchanged_files_are_read(tmp_path):
    for data in fuzz.SEEDS:
        fuzz.check(data)

    fuzz.check_files(tmp_path, {"tokenizer.json": fuzz.TOKENIZER_JSON})
