"""YAML in which every scalar is text, as written in the file, and duplicate keys are errors.

What a value means depends on who reads it: a folder may be called 2021, a label `no`, and a seed of 017 is
seventeen. YAML alone would make a number, a truth value and fifteen of them.
"""

from typing import Any, ClassVar

import yaml

_KEPT_VALUES = ("null", "str", "seq", "map")
# Texts without quotes that are not text: null, and `<<`, by which a mapping takes over another.
_KEPT_SPECIAL_TEXTS = ("null", "merge")


def load_plain_yaml(text: str) -> Any:
    """Return nested dictionaries and lists of text and None; ValueError of one line, with its number, for bad YAML."""
    try:
        return yaml.load(text, _Loader)
    except RecursionError as error:
        raise ValueError("too many brackets within brackets") from error
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f"line {error.problem_mark.line + 1}: "
        raise ValueError(f"{line}{error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error


def _kept(tag: str, names: tuple[str, ...]) -> bool:
    return tag.rpartition(":")[2] in names


class _Loader(yaml.SafeLoader):
    yaml_constructors: ClassVar[dict[Any, Any]] = {
        tag: construct
        for tag, construct in yaml.SafeLoader.yaml_constructors.items()
        # What stands under None refuses all other tags.
        if tag is None or _kept(tag, _KEPT_VALUES)
    }
    yaml_implicit_resolvers: ClassVar[dict[Any, Any]] = {  # type: ignore[misc]
        first: [(tag, pattern) for tag, pattern in resolvers if _kept(tag, _KEPT_SPECIAL_TEXTS)]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merge other mappings given by `<<`, after refusing duplicate keys."""
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                line = key.start_mark.line + 1
                if key.value in lines:
                    problem = f"{key.value!r} stands in line {lines[key.value]} already; put both together"
                    raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
                lines[key.value] = line
        super().flatten_mapping(node)
