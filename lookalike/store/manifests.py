"""Manifests: what a finished artifact consists of, and whether its files are still so."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from lookalike.errors import ArtifactError
from lookalike.files import read_document, sha256_of_file

MANIFEST = "manifest.json"
FORMAT_VERSION = 1


class _Spec(BaseModel):
    step: str
    code_version: str


class _File(BaseModel):
    size_bytes: int
    mtime_ns: int
    sha256: str


class _Manifest(BaseModel):
    """What is relied on in a manifest."""

    spec: _Spec
    key: str
    attempt: str
    files: dict[str, _File]
    digest: str
    summary: dict[str, Any]
    seconds: float


def read_manifest(path: Path) -> dict[str, Any]:
    """A manifest's content; raises ArtifactError if it is unreadable or of another format."""
    manifest = read_document(path, ArtifactError, {}, version=FORMAT_VERSION)
    try:
        _Manifest.model_validate(manifest)
    except ValidationError as error:
        entries = sorted({str(details["loc"][0]) for details in error.errors()})
        raise ArtifactError(f"{path} was altered ({', '.join(entries)}); run `lookalike build` again") from error
    return manifest


def damaged_files(folder: Path, files: Mapping[str, Mapping[str, Any]], *, deep: bool) -> list[str]:
    """What is wrong with the files of an artifact, one text each; empty when all is well."""
    return [f"{name}: {problem}" for name, entry in files.items() if (problem := _problem(folder / name, entry, deep))]


def _problem(path: Path, entry: Mapping[str, Any], deep: bool) -> str | None:
    try:
        status = path.stat()
        if status.st_size != entry["size_bytes"]:
            return f"{status.st_size} bytes instead of {entry['size_bytes']}"
        unchanged = status.st_mtime_ns == entry["mtime_ns"] and not deep
        if unchanged or sha256_of_file(path) == entry["sha256"]:
            return None
    except OSError as error:
        return error.strerror or str(error)
    return "its content has changed"
