import errno
import os

import numpy as np
import pytest

from lookalike.errors import ConfigError, describe_system_error
from lookalike.files import reserve_disk


def test_reserving_gives_a_mapped_file_all_its_blocks(tmp_path):
    path = tmp_path / "array.npy"
    array = np.lib.format.open_memmap(path, "w+", np.float16, (1000, 1000))
    assert path.stat().st_blocks * 512 < 2_000_000
    reserve_disk(path)
    assert path.stat().st_blocks * 512 >= 2_000_000
    assert not array.any()


def wrapped(cause: Exception) -> Exception:
    error = RuntimeError("a library's own words")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a/b"), "no space left on the disk for a/b; make room"),
        (wrapped(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))), "no space left on the disk; make room"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "no space left on the disk; make room"),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), "a"), "no space left on the disk for a; make room"),
        (PermissionError(errno.EACCES, "Permission denied", "a"), "[Errno 13] Permission denied: 'a'"),
        (MemoryError(), "out of memory"),
    ],
)
def test_failures_of_the_machine_are_one_line(error, expected):
    text = describe_system_error(error)
    assert text is not None
    assert text.startswith(expected)
    assert "\n" not in text


@pytest.mark.parametrize("error", [KeyError("a"), wrapped(FileNotFoundError("a")), ConfigError("a")])
def test_other_errors_are_none_of_the_machine(error):
    assert describe_system_error(error) is None
