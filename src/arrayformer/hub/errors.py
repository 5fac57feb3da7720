"""What went wrong on the way from the hub, said so that a person can act on it.

huggingface_hub changed its HTTP library between versions, so errors are told apart by the status of the answer they
carry, by errno, and by the name of their class.
"""

import errno
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import constants

from arrayformer.core.errors import DownloadError
from arrayformer.core.files.untrusted import shown
from arrayformer.hub.limits import BeyondLimitsError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EFBIG, errno.EIO, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)

# Parts of the names of the errors that HTTP libraries raise where no answer came.
_UNREACHED = ("ConnectError", "ConnectionError", "Timeout", "OfflineMode", "NetworkError", "ReadError", "gaierror")
_NO_HTTP = ("UnsupportedProtocol", "InvalidSchema", "InvalidURL")
_BROKEN_OFF = ("ProtocolError", "ChunkedEncoding", "IncompleteRead", "WriteError")


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turns whatever goes wrong inside the block into a DownloadError that begins with `what`."""
    try:
        yield
    except DownloadError:
        raise
    except Exception as error:
        raise DownloadError(f"{what}: {_explain(error)}") from error


def is_unreachable(error: BaseException) -> bool:
    """Whether no answer came at all."""
    causes = list(_causes(error))
    return all(_status(cause) is None for cause in causes) and any(_is_named(cause, _UNREACHED) for cause in causes)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _explain(error: BaseException) -> str:
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, BeyondLimitsError):
            return str(cause)
        if (status := _status(cause)) is not None:
            return _explain_status(status, cause)
    if message := _explain_connection(causes) or _explain_disk(causes):
        return message
    if any("Consistency check failed" in str(cause) for cause in causes):
        return f"the transfer ended early: {shown(error)}; try again, what has arrived is kept"
    if any(_is_named(cause, ("TooManyRedirects",)) for cause in causes):
        return f"{constants.ENDPOINT} redirects in circles"
    if any(_is_named(cause, _NO_HTTP) for cause in causes):
        return f"{constants.ENDPOINT} redirects to what is no http address: {shown(causes[-1])}"
    if any(isinstance(cause, ImportError) or "proxy" in str(cause).lower() for cause in causes):
        return f"the proxy cannot be used: {shown(error)}; look at ALL_PROXY, HTTPS_PROXY and HTTP_PROXY"
    reason = shown(f"{type(error).__name__}: {error}")
    if any(isinstance(cause, OSError) for cause in causes):
        return f"{reason}; look at the cache {constants.HF_HUB_CACHE} and at the variables HF_... and SSL_CERT_..."
    return f"{constants.ENDPOINT} gave an answer that is not the hub's ({reason}); a login page, perhaps"


def _explain_connection(causes: list[BaseException]) -> str | None:
    for cause in causes:
        if isinstance(cause, ssl.SSLError):  # its errno is a number of its own, 1 is no EPERM
            return (
                f"no secure connection to {constants.ENDPOINT}: {shown(cause)}; is the clock right? A proxy that "
                "opens connections needs its certificate in the file that SSL_CERT_FILE names"
            )
    if any(_is_named(cause, _BROKEN_OFF) for cause in causes):
        what = f"the connection to {constants.ENDPOINT} broke off: {shown(causes[-1])}"
        return f"{what}; try again, what has arrived is kept"
    if any(_is_named(cause, ("ProxyError",)) for cause in causes):
        return f"the proxy refuses: {shown(causes[-1])}; look at ALL_PROXY, HTTPS_PROXY and HTTP_PROXY"
    if any(_is_named(cause, _UNREACHED) for cause in causes):
        return f"{constants.ENDPOINT} cannot be reached: {shown(causes[-1])}; check the network, or pass --offline"
    return None


def _explain_disk(causes: list[BaseException]) -> str | None:
    for cause in causes:
        if isinstance(cause, OSError) and cause.errno in (*_FULL, *_CLOSED):
            what = "is full" if cause.errno in _FULL else f"cannot be written ({cause.strerror})"
            return f"the disk of the cache {constants.HF_HUB_CACHE} {what}; make room, or set HF_HOME to another place"
    return None


def _is_named(error: BaseException, parts: tuple[str, ...]) -> bool:
    return any(part in base.__name__ for base in type(error).__mro__ for part in parts)


def _status(error: BaseException) -> int | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _explain_status(status: int, error: BaseException) -> str:
    if status == 401:
        return "there is no such repository, or it is private (401); check the name, or set HF_TOKEN"
    if status == 403:
        return "access is refused (403); accept the terms on the repository's page, and set HF_TOKEN"
    if status == 404:
        what = "revision" if "Revision" in type(error).__name__ else "repository or file"
        return f"there is no such {what} (404)"
    if status == 416:
        return "the part asked for is not there (416): the file changed while it was fetched; try again"
    if status == 429:
        headers = getattr(getattr(error, "response", None), "headers", {})
        after = headers.get("Retry-After")
        return f"too many requests (429); try again {f'in {shown(after, 20)} seconds' if after else 'later'}"
    if status >= 500:
        return f"{constants.ENDPOINT} has trouble of its own ({status}); try again later"
    return f"{constants.ENDPOINT} answered with the status {status}"
