"""An index as a folder: arrays in `.npy` files, parameters, sizes and digests in `index.json`.

No pickle. `index.json` is written last: a folder without it, or with files that disagree with it, is refused.
"""

import hashlib
import io
import math
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lookalike.errors import IndexFormatError
from lookalike.files import digest_of, read_document, replacing, sha256_of_file, write_json_atomic
from lookalike.lsh.vectors import expect_random_reads

INDEX_FILE = "index.json"
_ARRAY_FILE = re.compile(r"[a-z_]+\.npy")
# Format 2: the first rows of equal ones may be listed (`copies`), and then only they stand in the tables; sketches
# may have `alignments`.
FORMAT_VERSION = 2
_EARLIER_VERSIONS = (1,)
# Files up to this size are compared with their digests on every load; larger vectors only by their size
# and header, so that a large index opens at once.
DIGEST_LIMIT_BYTES = 64 * 2**20


def write_index_folder(folder: Path, engine: str, parameters: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Write `arrays` as `.npy` files and then `index.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for name, array in arrays.items():
        with growing_array(folder / f"{name}.npy", array.dtype, array.shape) as file:
            file.append(array)
        files[name] = file.facts
    write_description(folder, engine, parameters, files)


def write_description(folder: Path, engine: str, parameters: dict[str, Any], files: dict[str, Any]) -> None:
    """Write `index.json`, with the facts about each array's file."""
    description = {"format": FORMAT_VERSION, "engine": engine, "parameters": parameters, "files": files}
    write_json_atomic(folder / INDEX_FILE, {**description, "digest": digest_of(description)})


class GrowingArray:
    """A `.npy` file that is written in parts, and its facts for `index.json` once it is complete."""

    def __init__(self, stream: IO[bytes], dtype: Any, shape: Sequence[int]) -> None:
        self._stream, self._dtype, self._shape = stream, np.dtype(dtype), tuple(shape)
        self._digest, self._n_bytes = hashlib.sha256(), 0
        header = io.BytesIO()
        description = {"descr": self._dtype.str, "fortran_order": False, "shape": self._shape}
        np.lib.format.write_array_header_1_0(header, description)
        self._write(header.getvalue())
        self._expected = self._n_bytes + self._dtype.itemsize * math.prod(self._shape)

    def append(self, part: NDArray[Any]) -> None:
        """Write the next elements."""
        # A view of bytes, which memoryview cannot give of half precision or of no elements.
        self._write(np.ascontiguousarray(part, self._dtype).reshape(-1).view(np.uint8).data)

    def _write(self, data: Any) -> None:
        self._stream.write(data)
        self._digest.update(data)
        self._n_bytes += len(data)

    def finish(self) -> None:
        """Check that all elements were written."""
        if self._n_bytes != self._expected:
            raise ValueError(f"an array of shape {self._shape} was to be written, but other elements came")

    @property
    def facts(self) -> dict[str, Any]:
        """Size, digest, dtype and shape."""
        return {
            "bytes": self._n_bytes,
            "sha256": self._digest.hexdigest(),
            "dtype": str(self._dtype),
            "shape": list(self._shape),
        }


@contextmanager
def growing_array(path: Path, dtype: Any, shape: Sequence[int]) -> Iterator[GrowingArray]:
    """A `.npy` file to write in parts; `path` appears when it is complete."""
    with replacing(path) as temporary, temporary.open("wb") as stream:
        file = GrowingArray(stream, dtype, shape)
        yield file
        file.finish()


def read_description(folder: Path, engine: str | None = None) -> dict[str, Any]:
    """The content of `index.json`, of a format that this version reads, and of the engine if one is named.

    Raises:
        IndexFormatError: missing, not JSON, altered, of another format or another engine.
    """
    path, needs = folder / INDEX_FILE, {"engine": str, "parameters": dict, "files": dict, "digest": str}
    description = read_document(
        path,
        IndexFormatError,
        needs,
        version=FORMAT_VERSION,
        earlier_versions=_EARLIER_VERSIONS,
        version_key="format",
        remedy="build the index again",
    )
    if description.pop("digest") != digest_of(description):
        raise IndexFormatError(f"{folder / INDEX_FILE} was altered: its digest does not match; build the index again")
    if engine is not None and description["engine"] != engine:
        raise IndexFormatError(f"{folder} holds an index of engine {description['engine']}, not {engine}")
    return description


def read_arrays(folder: Path, description: dict[str, Any], mmap: bool) -> dict[str, Any]:
    """The arrays that `index.json` lists, checked against it; read-only.

    Raises:
        IndexFormatError: a file is missing, truncated or altered; the message names it.
    """
    return {name: _read_array(folder / f"{name}.npy", facts, mmap) for name, facts in description["files"].items()}


def _read_array(path: Path, facts: dict[str, Any], mmap: bool) -> Any:
    try:
        size = path.stat().st_size
        if size != facts["bytes"]:
            raise IndexFormatError(f"{path} has {size} bytes, expected {facts['bytes']}; build the index again")
        if (size <= DIGEST_LIMIT_BYTES or path.stem != "vectors") and sha256_of_file(path) != facts["sha256"]:
            raise IndexFormatError(f"{path} was altered: its sha256 is not that of index.json; build the index again")
        # An array without elements cannot be mapped.
        mode: Literal["r"] | None = "r" if mmap and 0 not in facts["shape"] else None
        array = np.asarray(np.load(path, mmap_mode=mode, allow_pickle=False))
    except (OSError, ValueError) as cause:
        raise IndexFormatError(f"cannot read {path}: {cause}; build the index again") from cause
    if str(array.dtype) != facts["dtype"] or list(array.shape) != facts["shape"]:
        raise IndexFormatError(f"{path} holds {array.dtype} {array.shape}, expected {facts['dtype']} {facts['shape']}")
    array.flags.writeable = False
    if mmap and path.stem == "vectors":
        expect_random_reads(array)
    return array


def unpack_index(data: bytes, folder: Path) -> None:
    """Write the files of an index folder that was packed as a ZIP archive, and no others.

    Raises:
        IndexFormatError: no archive, or one with other files.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                if name != INDEX_FILE and not _ARRAY_FILE.fullmatch(name):
                    raise IndexFormatError(f"the bytes hold {name!r}, which is no file of an index")
                (folder / name).write_bytes(archive.read(name))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error) as cause:
        raise IndexFormatError(f"the bytes are no stored index: {cause}") from cause
