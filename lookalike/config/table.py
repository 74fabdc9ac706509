"""The configuration table of docs/configuration.md, made from the models so that the two cannot differ.

`python -m lookalike.config.table docs/configuration.md` puts the table between the file's two markers; a test
checks that the file has the present table.
"""

import re
import sys
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from lookalike.config.sections import LookalikeConfig

BEGIN = "<!-- configuration: begin (python -m lookalike.config.table docs/configuration.md) -->"
END = "<!-- configuration: end -->"


def render_table() -> str:
    """Return all keys as one Markdown table: key, default, meaning."""
    lines = ["| key | default | meaning |", "|---|---|---|"]
    for section, field in LookalikeConfig.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys = field.annotation.model_fields
            lines += [_row(f"{section}.{name}", key) for name, key in keys.items()]
        else:
            lines.append(_row(section, field))
    return "\n".join(lines)


def with_table(text: str) -> str:
    """Return the text with the current table between the markers; ValueError if they are missing."""
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"the markers {BEGIN} and {END} are missing")
    return pattern.sub(lambda _: f"{BEGIN}\n{render_table()}\n{END}", text)


def _row(key: str, field: FieldInfo) -> str:
    meaning = (field.description or "").replace("|", "\\|")
    choices = [str(choice) for choice in get_args(field.annotation) if isinstance(choice, str)]
    if choices:
        meaning = f"{meaning} ({', '.join(choices)})"
    return f"| `{key}` | {_shown(field.default)} | {meaning} |"


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        return f"{len(value)} built in"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_table(path.read_text(encoding="utf-8")), encoding="utf-8")
