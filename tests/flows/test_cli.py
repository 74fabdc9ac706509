import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.flows.conftest import TINY, last_json, run_cli


def tiny_settings(root: Path, *more: str) -> list[str]:
    return [argument for setting in (*TINY, f"artifacts.root={root}", *more) for argument in ("--set", setting)]


@pytest.fixture(scope="session")
def example(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("example") / "query image.png"
    Image.linear_gradient("L").convert("RGBA").save(path)
    return path


def test_build_prints_one_json_object_and_no_more(built):
    root, first = built
    done = run_cli("build", *tiny_settings(root), "--json")
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["build_id"] == first["build_id"]
    assert set(outcome["steps"].values()) == {"cached"}
    assert "download_dataset: cached" in done.stderr


def test_build_below_its_gate_exits_with_3(built):
    root, _ = built
    settings = ("index.engine=lshash3", "index.n_bits=1", "index.n_tables=1", "index.probes=1")
    done = run_cli("build", *tiny_settings(root, *settings, "evaluation.min_recall_at_10=1.0"), "--json")
    assert done.returncode == 3, done.stderr
    assert last_json(done.stdout)["published"] is False
    assert "the quality gate was not met" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("setting", "code", "expected"),
    [
        ("index.n_bit=3", 2, "unknown key index.n_bit (did you mean n_bits?)"),
        ("index.engine=faiss", 2, "index.engine: input should be 'lookalike' or 'lshash3', got 'faiss'"),
        ("training.backbone=resnet43", 2, "training.backbone"),
        ("dataset.source=folder", 2, "dataset.folder"),
        ("training.batch_size=many", 2, "training.batch_size"),
    ],
)
def test_a_wrong_setting_is_one_line_and_writes_nothing(tmp_path, setting, code, expected):
    done = run_cli("build", *tiny_settings(tmp_path / "root", setting))
    assert done.returncode == code
    assert len(done.stderr.strip().splitlines()) == 1
    assert expected in done.stderr
    assert done.stdout == ""
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_a_missing_folder_of_images_fails_with_one_line(tmp_path):
    settings = ("dataset.source=folder", f"dataset.folder={tmp_path / 'absent'}")
    done = run_cli("build", *tiny_settings(tmp_path / "root", *settings))
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert "absent" in done.stderr.strip().splitlines()[-1]


def test_a_root_that_cannot_be_made_fails_with_one_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    done = run_cli("build", *tiny_settings(tmp_path / "file" / "root"))
    assert done.returncode == 1
    assert "cannot make the artifact root" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_query_writes_json_picture_and_keeps_stdout_clean(built, example, tmp_path):
    output = tmp_path / "result.png"
    done = run_cli("query", str(example), "-n", "5", "--root", str(built[0]), "--json", "--output", str(output))
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)["results"][0]
    assert result["error"] is None
    assert [neighbor["rank"] for neighbor in result["neighbors"]] == [1, 2, 3, 4, 5]
    distances = [neighbor["distance"] for neighbor in result["neighbors"]]
    assert distances == sorted(distances)
    with Image.open(output) as picture:
        assert picture.format == "PNG"


def test_one_bad_query_does_not_spoil_the_others(built, example):
    done = run_cli("query", str(example), "absent.jpg", "--root", str(built[0]), "--json")
    assert done.returncode == 1
    good, bad = json.loads(done.stdout)["results"]
    assert good["error"] is None
    assert len(good["neighbors"]) == 6
    assert bad["neighbors"] == []
    assert "absent.jpg does not exist" in bad["error"]
    assert done.stderr.count("absent.jpg does not exist") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["-n", "0"], 2, "whole number from 1, got '0'"),
        (["-n", "-3"], 2, "whole number from 1, got '-3'"),
        (["--output", "result.gif"], 2, ".png, .jpg or .html"),
        (["--root", "no/such/root"], 1, "/no/such/root; run `lookalike build` first"),
        (["--set", "query.nn=3"], 2, "unknown key query.nn"),
    ],
)
def test_wrong_use_of_query_is_explained(built, example, arguments, code, expected):
    root = [] if "--root" in arguments else ["--root", str(built[0])]
    done = run_cli("query", str(example), *root, *arguments)
    assert done.returncode == code
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


def test_neither_query_nor_status_imports_prefect_or_fastai(built, example):
    root = ["--root", str(built[0])]
    script = (
        "import sys; from flows.cli import main; "
        f"code = main(['query', {str(example)!r}, *{root!r}]) or main(['status', *{root!r}]); "
        "heavy = sorted({'prefect', 'fastai', 'timm', 'torchvision', 'matplotlib'} & set(sys.modules)); "
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


def test_status_tells_fresh_from_stale(built):
    root, outcome = built
    fresh = json.loads(run_cli("status", *tiny_settings(root), "--json").stdout)
    assert fresh["published"]["build_id"] == outcome["build_id"]
    assert {stage["state"] for stage in fresh["stages"].values()} == {"fresh"}
    stale = json.loads(run_cli("status", *tiny_settings(root, "embedding.batch_size=3"), "--json").stdout)
    states = [stage["state"] for stage in stale["stages"].values()]
    assert states == ["fresh", "fresh", "stale", "stale", "stale"]


def test_status_before_any_build(tmp_path):
    done = run_cli("status", "--root", str(tmp_path))
    assert done.returncode == 0
    assert "nothing is published yet" in done.stdout


def test_a_closed_pipe_is_no_error_message(built, example):
    command = f"{sys.executable} -m flows.cli query '{example}' --root '{built[0]}' --json | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=120)
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


ODD_NAMES = ["\x1b[31mred.png", "two\nlines.png", "日本 é.png", "caf\udce9.png"]


@pytest.mark.parametrize(
    ("form", "console"),
    [
        ([], {"PYTHONIOENCODING": "ascii:strict"}),
        ([], {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
        (["--json"], {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
        (["--json"], {"PYTHONIOENCODING": "cp1252:strict"}),
    ],
    ids=["ascii", "C", "JSON C", "JSON cp1252"],
)
def test_names_of_all_kinds_are_printed_on_every_console(built, example, tmp_path, form, console):
    paths = [tmp_path / name for name in ODD_NAMES]
    for path in paths:
        path.write_bytes(example.read_bytes())
    absent = str(tmp_path / "gone\x1b[31m\udcff.png")
    output = tmp_path / "out.html"
    arguments = ["query", *map(str, paths), absent, "--root", str(built[0]), "-n", "2", "--output", str(output), *form]
    # Read as bytes: what encoding the output has is part of the question.
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments],
        capture_output=True,
        env={**os.environ, **console},
        check=False,
        timeout=240,
    )
    assert done.returncode == 1, done.stderr
    assert b"Traceback" not in done.stderr
    assert b"\x1b" not in done.stdout + done.stderr
    assert rb"gone\x1b[31m\xff.png does not exist" in done.stderr
    if form:
        results = json.loads(done.stdout.decode("ascii"))["results"]
        assert [len(result["neighbors"]) for result in results] == [2, 2, 2, 2, 0]
        assert results[1]["query"] == str(paths[1])
    else:
        assert rb"two\nlines.png: 2 most similar" in done.stdout
    assert "red.png" in output.read_text(encoding="utf-8")


def test_wrong_usage_is_printed_without_control_characters():
    done = run_cli("query", "a.png", "--\x1b[31mred")
    assert done.returncode == 2
    assert r"--\x1b[31mred" in done.stderr
    assert "\x1b" not in done.stderr


def test_too_many_queries_for_a_picture_are_refused_before_any_work(built, example, tmp_path):
    output = tmp_path / "many.jpg"
    done = run_cli("query", *[str(example)] * 130, "--root", str(built[0]), "--output", str(output))
    assert done.returncode == 2
    assert done.stdout == ""
    assert "many.jpg can hold 75 queries of 6 neighbors, got 130; write a .png picture or a .html page" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not output.exists()


@pytest.mark.parametrize("ending", ["png", "html"])
def test_answers_are_printed_although_the_picture_cannot_be_written(built, example, tmp_path, ending):
    (tmp_path / "file").write_text("in the way")
    output = tmp_path / "file" / f"result.{ending}"
    done = run_cli("query", str(example), "--root", str(built[0]), "--json", "--output", str(output))
    assert done.returncode == 1
    assert len(json.loads(done.stdout)["results"][0]["neighbors"]) == 6
    assert f"cannot write {output}" in done.stderr
    assert "Traceback" not in done.stderr
