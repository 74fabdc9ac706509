"""Renamed settings: the earlier names are accepted, with a warning that gives the new one."""

import logging
from typing import Any

from lookalike.errors import ConfigError

logger = logging.getLogger(__name__)

RENAMED = {
    "training.kept_units": "training.pretrained_components",
    "training.kept_share": "training.pretrained_share",
    "embedding.max_failure_fraction": "dataset.max_failure_fraction",
}


def new_name(name: str, where: str) -> str:
    """Return the present name of a setting; an earlier one is logged with `where` it was found."""
    if name not in RENAMED:
        return name
    logger.warning("%s: %s is now called %s", where, name, RENAMED[name])
    return RENAMED[name]


def with_new_names(values: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the sections of a file with their keys renamed; ConfigError if a setting has both names."""
    sections = {section: dict(keys) if isinstance(keys, dict) else keys for section, keys in values.items()}
    for old, new in RENAMED.items():
        (section, key), (new_section, new_key) = old.split("."), new.split(".")
        if not isinstance(sections.get(section), dict) or key not in sections[section]:
            continue
        target = sections.setdefault(new_section, {})
        if not isinstance(target, dict) or new_key in target:
            raise ConfigError(f"{where}: {old} is the earlier name of {new}; give one of them")
        new_name(old, where)
        target[new_key] = sections[section].pop(key)
    return sections
