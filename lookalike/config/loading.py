"""Reading the configuration: a YAML file, then `section.key=value` overrides, checked as one.

YAML gives the structure, and every single value arrives as the text that stands in the file: the type
of its setting says whether it is a number, a switch, a path or text. So a folder may be called 2021, and
017 is seventeen. In an override the text after `=` is the value, to the letter; only lists are YAML.

Every mistake becomes a `ConfigError` of one line that names the file and the key, says what came, and
lists what would be valid.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from lookalike.config.plain_yaml import load_plain_yaml
from lookalike.config.renamed import new_name, with_new_names
from lookalike.config.sections import LookalikeConfig
from lookalike.errors import ConfigError
from lookalike.files import user_path

# Beside the sections: the file, relative to the one that says so, whose settings are the defaults of this one.
_EXTENDS = "extends"
_LONGEST_VALUE_SHOWN = 80
# In place of what pydantic says of these.
_EXPECTED = {
    "tuple_type": "expected a list, such as [a, b]",
    "string_type": "expected text; put it in quotes if it looks like a list, a mapping or null",
}
# Where a value stands: ("section",) or ("section", "key"), and the file that has it.
_Origins = dict[tuple[str, ...], Path]
# Beside the sections too: the name of the collection.
_NAME = "name"


def _model_of(field: FieldInfo) -> type[BaseModel] | None:
    """Return the model of a section or of the items of a list; None for a plain value."""
    kinds = (field.annotation, *get_args(field.annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


_SECTIONS = {name: model for name, field in LookalikeConfig.model_fields.items() if (model := _model_of(field))}
# Settings at the top of a file, in no section.
_SINGLE_SETTINGS = LookalikeConfig.model_fields.keys() - _SECTIONS.keys()


def load_config(path: Path | None = None, overrides: Iterable[str] = ()) -> LookalikeConfig:
    """Return the configuration of a YAML file (or all defaults), with `section.key=value` overrides on top.

    A file that `extends` another one holds only what it changes. Raises ConfigError for a missing or malformed
    file, an unknown key, a wrong type or value.
    """
    origins: _Origins = {}
    values = {_NAME: _default_name(path), **_read_extended(user_path(path), origins)} if path is not None else {}
    return _checked(values, overrides, origins)


def parse_config(values: Mapping[str, Any], overrides: Iterable[str] = ()) -> LookalikeConfig:
    """Return the configuration of plain values by section, with overrides on top; raises as `load_config` does."""
    return _checked(values, overrides, {})


def _checked(values: Mapping[str, Any], overrides: Iterable[str], origins: _Origins) -> LookalikeConfig:
    values = {section: dict(keys) if isinstance(keys, Mapping) else keys for section, keys in values.items()}
    for override in overrides:
        _apply_override(values, override, origins)
    try:
        return LookalikeConfig.model_validate(values)
    except ValidationError as error:
        problems = [_explain(details, origins) for details in error.errors(include_url=False)]
        raise ConfigError("; ".join(problems)) from error


def _default_name(path: Path) -> str:
    """Return the file's name in characters that need no quoting in Prefect, a shell or a URL."""
    return re.sub(r"[^a-z0-9_-]+", "-", path.stem.lower()).strip("-_") or LookalikeConfig().name


def _read_extended(path: Path, origins: _Origins, extending: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return the sections of a file merged over those it extends; `extending` are the files that led here."""
    values = _read_yaml(path)
    base = values.pop(_EXTENDS, None)
    merged: dict[str, Any] = {}
    if base is not None:
        if not isinstance(base, str) or path.resolve() in extending:
            raise ConfigError(f"{path}: `extends` must name another file, not itself, got {_shown(base)}")
        merged = _read_extended(path.parent / user_path(base), origins, (*extending, path.resolve()))
        merged.pop(_NAME, None)  # The name of another collection.
    for section, keys in values.items():
        under = merged.get(section)
        merged[section] = {**under, **keys} if isinstance(under, dict) and isinstance(keys, dict) else keys
        origins[(section,)] = path
        origins |= {(section, key): path for key in keys} if isinstance(keys, dict) else {}
    return merged


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = load_plain_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror or error}") from error
    except ValueError as error:
        hint = "" if "already" in str(error) else "; text with special characters needs quotes"
        raise ConfigError(f"the configuration {path} is not valid YAML: {error}{hint}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"the configuration {path} must hold sections ({', '.join(_SECTIONS)}), not one value")
    # A section whose keys are all commented out reads as null; it means "all defaults".
    sections = {section: {} if keys is None and section in _SECTIONS else keys for section, keys in content.items()}
    return with_new_names(sections, str(path))


def _apply_override(values: dict[str, Any], override: str, origins: _Origins) -> None:
    name, equals, text = override.partition("=")
    section, dot, key = new_name(name.strip(), "--set").partition(".")
    model = _SECTIONS.get(section)
    if not (equals and section and (key if dot else section in _SINGLE_SETTINGS)):
        raise ConfigError(f"--set expects section.key=value, got {_shown(override)}; for example index.n_bits=16")
    if not dot:
        values[section] = text
    elif model is None:
        raise ConfigError(_unknown(section, list(_SECTIONS), "section"))
    else:
        target = values.setdefault(section, {})
        if not isinstance(target, dict):
            raise ConfigError(f"{section}: expected a section of keys, got {_shown(target)}")
        target[key] = _value_of(model, section, key, text)
    # What is wrong from here on is no fault of the file.
    origins.pop((section, key), None)
    origins.pop((section,), None)


def _value_of(model: type[BaseModel], section: str, key: str, text: str) -> Any:
    """Return the value of an override: lists are YAML, all else is text; empty means null where that is valid."""
    kinds = _kinds(model.model_fields[key]) if key in model.model_fields else set()
    if tuple in kinds:
        try:
            return load_plain_yaml(text)
        except ValueError as error:
            raise ConfigError(f"{section}.{key}: a list is written [a, b], got {_shown(text)} ({error})") from error
    return None if text == "" and type(None) in kinds else text


def _kinds(field: FieldInfo) -> set[Any]:
    """Return the plain types that a setting may have."""
    return {get_origin(kind) or kind for kind in (field.annotation, *get_args(field.annotation))}


def _explain(details: ErrorDetails, origins: _Origins) -> str:
    location = tuple(str(part) for part in details["loc"] if not _is_union_branch(str(part)))
    origin = origins.get(location[:2])
    return f"{origin}: {_explain_problem(details, location)}" if origin else _explain_problem(details, location)


def _explain_problem(details: ErrorDetails, location: tuple[str, ...]) -> str:
    key = _printable(".".join(location))
    if details["type"] == "extra_forbidden":
        return _unknown(key, _valid_keys(location[:-1]), "key")
    message = _EXPECTED.get(details["type"], details["msg"].removeprefix("Value error, "))
    if details["type"] == "model_type":
        return f"{key}: expected a section of keys, got {_shown(details['input'])}"
    if isinstance(details["input"], Mapping):
        return f"{key}: {message}" if key else message
    return f"{key}: {message[:1].lower()}{message[1:]}, got {_shown(details['input'])}"


def _is_union_branch(part: str) -> bool:
    # pydantic names the branch of a union it tried (`int`, `literal['auto']`); no key of ours looks so.
    return part in {"int", "constrained-int"} or part.startswith(("literal[", "function-"))


def _valid_keys(location: tuple[str, ...]) -> list[str]:
    """Return the keys that are valid at a location; an index into a list has those of the list's items."""
    model: type[BaseModel] = LookalikeConfig
    for part in location:
        if part in model.model_fields:
            model = _model_of(model.model_fields[part]) or model
    return list(model.model_fields)


def _unknown(name: str, valid: list[str], what: str) -> str:
    close = difflib.get_close_matches(name.rpartition(".")[2], valid, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    return f"unknown {what} {_printable(name)}{hint}; valid: {', '.join(valid)}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE_SHOWN else f"{text[: _LONGEST_VALUE_SHOWN - 4]} ..."


def _printable(name: str) -> str:
    """Return a key, escaped and shortened if it is unprintable or long."""
    return name if name.isprintable() and len(name) <= _LONGEST_VALUE_SHOWN else _shown(name)
