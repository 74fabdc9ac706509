"""An index as a folder: arrays in `.npy` files, parameters, sizes and digests in `index.json`.

No pickle. `index.json` is written last: a folder without it, or with files that disagree with it, is refused.
"""

import io
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np

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
        path = folder / f"{name}.npy"
        with replacing(path) as temporary, temporary.open("wb") as stream:
            np.lib.format.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)
        files[name] = {
            "bytes": path.stat().st_size,
            "sha256": sha256_of_file(path),
            "dtype": str(array.dtype),
            "shape": list(array.shape),
        }
    description = {"format": FORMAT_VERSION, "engine": engine, "parameters": parameters, "files": files}
    write_json_atomic(folder / INDEX_FILE, {**description, "digest": digest_of(description)})


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
