"""How runs end, and what their log says: one line for what a user can mend, a traceback for a defect."""

import logging

import pytest

from lookalike.errors import ConfigError, QualityGateError
from tests.flows.conftest import TINY

GATE = ["index.engine=lshash3", "index.n_bits=1", "index.n_tables=1", "index.probes=1"]


@pytest.fixture
def run(built, caplog):
    """Run the build flow with further settings; returns the state and what Prefect and the library logged."""

    def run_build(*settings: str):
        from flows.build import build

        caplog.clear()
        with caplog.at_level(logging.INFO, "lookalike"):
            state = build(None, [*TINY, f"artifacts.root={built[0]}", *settings], return_state=True)
        return state, caplog.text

    return run_build


@pytest.mark.parametrize(
    ("settings", "name", "error", "message"),
    [
        ([*GATE, "evaluation.min_recall_at_10=1.0"], "Refused", QualityGateError, "the quality gate was not met"),
        (["index.n_bit=1"], "Failed", ConfigError, "unknown key index.n_bit (did you mean n_bits?)"),
        (
            ["dataset.source=folder", "dataset.folder=/absent"],
            "Failed",
            ConfigError,
            "dataset.folder: /absent does not exist",
        ),
    ],
)
def test_what_a_user_can_mend_is_one_line(run, settings, name, error, message):
    state, log = run(*settings)
    assert (state.type.value, state.name) == ("FAILED", name)
    assert state.message.startswith(message)
    assert "Traceback" not in log
    assert "NoneType" not in log
    with pytest.raises(error) as caught:
        state.result()
    assert str(caught.value) == state.message


def test_a_failed_stage_is_one_line_too(run, tmp_path):
    folder = tmp_path / "images"
    for name in ("one/a.jpg", "one/b.jpg", "two/c.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\xff\xd8 no more")
    state, log = run("dataset.source=folder", f"dataset.folder={folder}", f"artifacts.root={tmp_path / 'root'}")
    assert state.name == "Failed"
    assert "holds no readable image" in state.message
    assert "Traceback" not in log
    assert log.count("Finished in state Failed") == 2  # Of the task and of the flow.


def test_a_full_disk_is_one_line(run, monkeypatch):
    def fill(*_: object) -> None:
        raise OSError(28, "No space left on device", "x")

    monkeypatch.setattr("flows.build.publish", fill)
    state, log = run()
    assert state.message.startswith("no space left on the disk for x")
    assert "Traceback" not in log


def test_a_defect_keeps_its_traceback(run, monkeypatch):
    monkeypatch.setattr("flows.build.publish", lambda *_: 1 / 0)
    state, log = run()
    assert state.name == "Failed"
    assert "ZeroDivisionError" in state.message
    assert log.count("Traceback") == 1


def test_the_log_of_a_build_has_counts_figures_verdict_and_next_command(run, built):
    _, log = run()
    for expected in (
        "30 images and 0 rejected files in the catalog; 30 images embedded and 0 rejected",
        f"build {built[1]['build_id']}: published after",
        "precision@10",
        f"next: lookalike query IMAGE --root '{built[0]}'",
    ):
        assert log.count(expected) == 1, expected


def test_a_refused_build_has_them_too(run, built):
    _, log = run(*GATE, "evaluation.min_recall_at_10=1.0")
    assert log.count(": not published after") == 1
    assert f"next: lookalike builds --root '{built[0]}'" in log


def test_lines_reach_a_runs_page_once(built):
    from prefect.logging.handlers import APILogHandler

    handlers = logging.getLogger("lookalike").handlers
    assert sum(isinstance(handler, APILogHandler) for handler in handlers) == 1


def test_queries_that_fail_fail_their_run(built):
    from flows.query import query

    state = query(["absent.jpg", "also absent.jpg"], root=str(built[0]), return_state=True)
    assert (state.type.value, state.name) == ("FAILED", "Failed")
    assert state.message.count("does not exist") == 2
    state = query(["absent.jpg"], root=str(built[0] / "nothing here"), return_state=True)
    assert "nothing is published below" in state.message


def test_some_queries_that_fail_show_in_the_name_of_the_state(built):
    from flows.query import query
    from tests.flows.test_build import any_image_id

    state = query([f"id:{any_image_id(built[0])}", "absent.jpg"], root=str(built[0]), return_state=True)
    assert (state.type.value, state.name) == ("COMPLETED", "PartlyFailed")
    assert state.message.startswith("absent.jpg does not exist")
    assert [result["error"] is None for result in state.result()] == [True, False]


def test_every_parameter_has_a_help_text():
    from flows.build import build
    from flows.query import query

    for flow in (build, query):
        for name, schema in flow.parameters.properties.items():
            assert len(schema["description"]) > 10, name
