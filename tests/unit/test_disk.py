import errno
import os
from types import SimpleNamespace

import numpy as np
import pytest

from lookalike import disk
from lookalike.config_loading import load_config
from lookalike.disk import check_free_disk, estimate_bytes
from lookalike.errors import ArtifactError, ConfigError, describe_system_error
from lookalike.files import reserve_disk
from lookalike.stages import STAGES

SUMMARIES = {"download_dataset": {"n_images": 1_000_000}, "embed_all": {"rows": 1_000_000, "dim": 512}}


def test_the_estimate_of_vectors_is_their_size():
    config = load_config(None, [])
    vectors_bytes = 1_000_000 * 512 * 4
    assert estimate_bytes("build_lsh", config, SUMMARIES) == vectors_bytes
    assert vectors_bytes < estimate_bytes("embed_all", config, SUMMARIES) < 1.1 * vectors_bytes


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_an_estimate(stage):
    assert estimate_bytes(stage, load_config(None, []), SUMMARIES) > 0


def test_a_local_archive_needs_its_size_again(tmp_path):
    archive = tmp_path / "archive.zip"
    archive.write_bytes(b"x" * 12_345)
    config = load_config(None, ["dataset.source=caltech101", f"dataset.archive={archive}"])
    assert estimate_bytes("download_dataset", config, {}) == 12_345


def test_too_little_room_names_what_is_needed_and_what_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda root: SimpleNamespace(free=3_000_000))
    with pytest.raises(
        ArtifactError, match=r"build_lsh needs about 2,048\.0 MB on the disk of .*, which has 3\.0 MB free; clear"
    ):
        check_free_disk(tmp_path, "build_lsh", load_config(None, []), SUMMARIES)
    check_free_disk(tmp_path, "fine_tune", load_config(None, []), {})


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
