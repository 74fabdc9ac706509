"""The types of settings, with their bounds.

Text and paths can always stand in JSON and in file names; the bounds of the index are those of the engines.
"""

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from lookalike.config.schedules import checked_cron, checked_timezone
from lookalike.files import user_path
from lookalike.limits import MAX_BITS, MAX_PROBES, MAX_TABLES


def _storable(text: str) -> str:
    """Return the text if JSON and file names can hold it: not empty, no zero bytes, valid Unicode."""
    if not text or "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("expected text of one character or more, without zero bytes, in valid UTF-8")
    return text


def _checked_pattern(pattern: str) -> str:
    """Return a pattern of `dataset.exclude_paths`, without a trailing slash."""
    if pattern.startswith("/") or not all(part not in {"", ".", ".."} for part in pattern.rstrip("/").split("/")):
        raise ValueError("expected a name or a path below dataset.folder, with * ? [] as wildcards")
    return pattern.rstrip("/")


def _as_path(value: Any) -> Any:
    return user_path(_storable(str(value))) if isinstance(value, str | Path) else value


Text = Annotated[str, AfterValidator(_storable)]
# `~` means the home folder in every path; relative ones start at the current folder.
UserPath = Annotated[Path, BeforeValidator(_as_path)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveInt = Annotated[int, Field(ge=1)]
Bits = Annotated[int, Field(ge=1, le=MAX_BITS)]
Tables = Annotated[int, Field(ge=1, le=MAX_TABLES)]
Probes = Annotated[int, Field(ge=1, le=MAX_PROBES)]
Workers = Annotated[int, Field(ge=1, le=1024)]
Rate = Annotated[float, Field(gt=0.0, le=1.0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Pattern = Annotated[Text, AfterValidator(_checked_pattern)]
Cron = Annotated[Text, AfterValidator(checked_cron)]
TimeZone = Annotated[Text, AfterValidator(checked_timezone)]
