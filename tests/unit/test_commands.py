"""Each command is declared as it is defined, and `~` is the home folder in every path that a user gives."""

import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import get_type_hints

import pytest

from flows.cli import _parser
from flows.commands.declaring import COMMANDS
from lookalike.config.loading import load_config
from lookalike.config.sections import LookalikeConfig
from lookalike.dataset.caltech101 import ENVIRONMENT_VARIABLE, local_source
from lookalike.errors import ConfigError, ImageError
from lookalike.network.weights import check_weights
from lookalike.search.sources import read_query
from lookalike.store.artifacts import Store

# The shortest valid use of each command.
SHORTEST = {
    "index": ["a"],
    "build": [],
    "experiment": ["a.yaml"],
    "query": ["a.png"],
    "serve": [],
    "deploy": ["--pool", "p"],
    "notify": ["--block", "slack-webhook/team"],
    "status": [],
    "export": ["--to", "npy", "--output", "vectors"],
    "builds": [],
    "verify": [],
    "rollback": [],
    "gc": [],
}


@pytest.mark.parametrize(("name", "command"), COMMANDS.items(), ids=list(COMMANDS))
def test_a_command_takes_its_arguments_as_parameters(name, command):
    options = vars(_parser().parse_args([name, *SHORTEST[name]]))
    assert options.pop("run") is command.run
    assert set(options) == set(inspect.signature(command.run).parameters)


def path_arguments() -> list:
    found = []
    for name, command in COMMANDS.items():
        hints = get_type_hints(command.run)
        for flags, options in command.arguments:
            parameter = options.get("dest", flags[0].strip("-").replace("-", "_"))
            if "Path" in str(hints[parameter]):
                found.append(pytest.param(options["type"], id=f"{name} {flags[0]}"))
    return found


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("convert", path_arguments())
def test_paths_on_the_command_line_begin_at_home(home, convert):
    assert convert("~/a.png") == home / "a.png"


def path_settings() -> list[str]:
    sections = LookalikeConfig.model_fields.items()
    return [
        f"{section}.{key}"
        for section, model in sections
        for key, field in getattr(model.annotation, "model_fields", {}).items()
        if "Path" in str(field.annotation)
    ]


@pytest.mark.parametrize("setting", path_settings())
def test_paths_in_settings_begin_at_home(home, setting):
    section, key = setting.split(".")
    source = key if key in {"folder", "vectors"} else "caltech101"
    config = load_config(None, [f"dataset.source={source}", f"{setting}=~/a"])
    assert getattr(getattr(config, section), key) == home / "a"


def test_files_that_other_texts_name_begin_at_home(home, monkeypatch):
    (home / "base.yaml").write_text("index:\n  n_bits: 7\n")
    (home / "own.yaml").write_text("extends: ~/base.yaml\n")
    assert load_config(Path("~/own.yaml")).index.n_bits == 7
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "~/base.yaml")
    assert local_source(LookalikeConfig().dataset) == home / "base.yaml"
    assert Store("~/a").root == home / "a"
    with pytest.raises(ImageError, match=str(home)):
        read_query("~/absent.png", LookalikeConfig().query, target_size=32, max_pixels=10**6)
    check_weights(load_config(None, ["training.weights=~/base.yaml"]).training)
    with pytest.raises(ConfigError, match="no existing file"):
        check_weights(load_config(None, ["training.weights=~/absent.pth"]).training)


def test_the_output_of_a_query_on_demand_begins_at_home(home, monkeypatch):
    from flows import query as module

    given: list = []
    monkeypatch.setattr(module, "deployed_parameters", dict)
    monkeypatch.setattr(
        module,
        "query_task",
        lambda *arguments, **_: given.extend(arguments) or SimpleNamespace(result=lambda: [{"error": None}]),
    )
    module.query.fn(["a.png"], root="~/root", output="~/out.png")
    assert (given[0], given[-1]) == (home / "root", home / "out.png")
