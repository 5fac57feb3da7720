"""Weights in Hugging Face's names, from one safetensors file."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
import re

from arrayformer.core.checkpoint.files import ModelFile, open_inside, shown
from arrayformer.core.checkpoint.safetensors_file import Entry, read_table
from arrayformer.core.config import GPT2Config
from arrayformer.core.errors import ModelFileError
from arrayformer.core.params import shapes, walk

_PREFIX = "transformer."
