"""What can go wrong for a reason a user can mend.

Every message says what came, what was needed and what to do. The command line prints an
`ArrayformerError` as one line and ends with its `exit_code`; anything else is a bug and keeps its traceback.
"""

from typing import ClassVar


class ArrayformerError(Exception):
    """Base of all errors a user can cause."""

    exit_code: ClassVar[int] = 2


class InputError(ArrayformerError, ValueError):
    """Ids, lengths, options or text that the model cannot take."""


class TokenizerError(ArrayformerError, ValueError):
    """A tokenizer table that does not hold together, or ids it does not know."""

    exit_code = 3


class ModelFileError(ArrayformerError, ValueError):
    """A checkpoint that does not hold what the model needs."""

    exit_code = 3


class ConfigError(ModelFileError):
    """A `config.json` or `hparams.json` that does not describe a model this project can run."""


class VocabularyError(ModelFileError):
    """Config and weights whose vocabularies have different sizes."""


class BackendError(ArrayformerError, RuntimeError):
    """A backend that cannot be loaded, has not the device or dtype asked for, or broke its contract."""

    exit_code = 4


class PluginError(BackendError):
    """A backend package that is broken: its author has to mend it, not its user."""


class BackendNotFoundError(BackendError, LookupError):
    """No backend of that name is installed."""


class DownloadError(ArrayformerError, ConnectionError):
    """A file that could not be fetched, or did not arrive as it was announced."""

    exit_code = 5


class NumericError(ArrayformerError, ArithmeticError):
    """Logits that are not finite: sampling from them would write nonsense."""

    exit_code = 6


class ConformanceFailure(ArrayformerError, AssertionError):
    """A backend computes something else than the model."""

    exit_code = 1


class EvaluationFailure(ArrayformerError, AssertionError):
    """A figure came out as something else than was expected of it."""

    exit_code = 1


class DataFileError(ArrayformerError, ValueError):
    """A text or data set that is missing, or not what a protocol measures."""

    exit_code = 3


class OutputError(ArrayformerError, OSError):
    """A file that cannot be written."""

    exit_code = 3
