"""The command line as a process of its own."""

import os
import subprocess
import sys


def call(*arguments, **how):
    environment = os.environ | {"PYTHONUNBUFFERED": "", "OPENBLAS_NUM_THREADS": "1"} | how.pop("env", {})
    return subprocess.Popen(
        [sys.executable, "-m", "arrayformer", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, **how,
    )  # fmt: skip


LONG = ("-n", 10**7, "--on-full", "slide", "--offline", "--ignore-eos")
