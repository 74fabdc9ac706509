"""Every error that a user can cause or must act on, with the exit code of the command line.

Each message is one line that says what was expected, what came, and what to do. Library code
raises these, ``ValueError`` or ``TypeError`` at its public boundary, and never exits by itself.
"""

import errno
import os

_DISK_FULL_TEXTS = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))


class LookalikeError(Exception):
    """An error that a user can act on; the command line prints only the message and exits with `exit_code`."""

    exit_code = 1


class ConfigError(LookalikeError):
    """A wrong option or configuration; the message names the key and the valid choices."""

    exit_code = 2


class QualityGateError(LookalikeError):
    """A build did not reach a figure that its configuration demands; nothing was published."""

    exit_code = 3


class DatasetError(LookalikeError):
    """The configured source has no usable images."""


class DownloadError(LookalikeError):
    """A URL could not be fetched, or did not hold what was expected."""


class ImageError(LookalikeError):
    """One image could not be read; the message gives the cause."""


class ModelError(LookalikeError):
    """Weights or a stored model do not fit the network, or are damaged."""


class EmbeddingError(LookalikeError):
    """Images could not be embedded, or stored embeddings do not match their images or model."""


class IndexFormatError(LookalikeError):
    """A stored index is missing, truncated, altered, or of an unknown format."""


class ArtifactError(LookalikeError):
    """The artifact store lacks something, or holds something damaged."""


def describe_error(error: BaseException) -> str | None:
    """Return one line on an error that a user can act on, or None for a defect of the program."""
    return str(error) if isinstance(error, LookalikeError) else describe_system_error(error)


def describe_system_error(error: BaseException) -> str | None:
    """Return one line on a failure of the machine (disk full, permission, memory), or None for any other error."""
    if _means_full_disk(error):
        place = f" for {error.filename}" if isinstance(error, OSError) and error.filename else ""
        return f"no space left on the disk{place}; make room and start again: finished stages are kept"
    if isinstance(error, MemoryError):
        return "out of memory; use a smaller training.batch_size or embedding.shard_rows, or a larger machine"
    if isinstance(error, UnicodeEncodeError):
        # Libraries that take every path for UTF-8.
        part = error.object[max(0, error.start - 40) : error.end + 40]
        return f"a path holds bytes that are no UTF-8 (near {part!a}); rename it, or set PYTHONUTF8=1"
    if isinstance(error, OSError):
        return " ".join(str(error).split()) or type(error).__name__
    return None


def _means_full_disk(error: BaseException) -> bool:
    """Whether the disk was full, also if a library wrapped that in another error."""
    cause: BaseException | None = error
    while cause is not None:
        if any(text in str(cause) for text in _DISK_FULL_TEXTS):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
