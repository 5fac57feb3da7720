"""What --help says, and `download` of what is not at the hub."""

import subprocess
import sys


def test_download_refuses_what_is_not_at_the_hub(run, directory):
    for model in ("fable", directory, "../..", "https://example.org/a"):
        code, out, err = run("download", model, "--offline")
        assert code in (2, 3)
        assert out == ""
        assert err.startswith("error: ")


def test_each_command_has_help_and_each_is_in_the_list(run):
    _, listed, _ = run("--help")

    for name in ("generate", "tokenize", "download"):
        assert name in listed
        code, out, _ = run(name, "--help")
        assert code == 0
        assert "--debug" in out
    assert run("nonesuch")[0] == 2


def test_help_imports_neither_arrays_nor_networks():
    code = (
        "import sys; from arrayformer import cli; cli.main(['--help']);"
        "print([m for m in ('numpy', 'huggingface_hub', 'rich', 'jax', 'pluggy') if m in sys.modules], file=sys.stderr)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stderr.strip() == "[]"
