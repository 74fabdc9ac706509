import json
import shutil
from pathlib import Path

from lookalike.pipeline.garbage import clear
from lookalike.pipeline.maintenance import list_builds, list_experiments
from lookalike.search import Searcher
from lookalike.store.artifacts import Store
from tests.flows.conftest import TINY, run_cli


def test_configurations_share_their_stages_and_nothing_is_published(prefect_server, tmp_path):
    from flows.experiment import experiment

    files = []
    for name, index in (("few bits", "n_bits: 2"), ("more bits", "n_bits: 4"), ("broken", "n_bits: many")):
        path = tmp_path / f"{name}.yaml"
        path.write_text(f"index:\n  {index}\n  n_tables: 2\n  probes: 1\n")
        files.append(str(path))
    few, more, broken = experiment(files, [*TINY, f"artifacts.root={tmp_path / 'root'}"])
    assert set(few["steps"].values()) == {"built"}
    assert [step for step, state in more["steps"].items() if state == "built"] == ["build_lsh", "evaluate_recall"]
    assert few["metrics"]["precision_at_10"] == more["metrics"]["precision_at_10"]
    assert broken["error"].startswith(f"{files[2]}: index.n_bits")
    store = Store(tmp_path / "root")
    assert store.read_current() is None
    listed = list_experiments(store)
    assert [(one["name"], one["build_id"]) for one in listed] == [
        ("few bits", few["build_id"]),
        ("more bits", more["build_id"]),
    ]
    assert list_builds(store) == []
    assert clear(store, keep=2, grace_seconds=0) == []
    for row, n_bits in ((few, 2), (more, 4)):
        searcher = Searcher.open(store.root, build=row["build_id"][:8])
        assert searcher._index.n_bits == n_bits


def test_the_table_names_every_configuration(built, tmp_path):
    path = tmp_path / "as-built.yaml"
    path.write_text("")
    settings = [argument for setting in (*TINY, f"artifacts.root={built[0]}") for argument in ("--set", setting)]
    done = run_cli("experiment", str(path), *settings)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("| as-built | 0.")
    done = run_cli("experiment", str(path), *settings, "--json")
    assert set(json.loads(done.stdout)["experiments"][0]["steps"].values()) == {"cached"}


def test_an_experiment_is_listed_and_answers_queries(built, tmp_path):
    root = Path(shutil.copytree(built[0], tmp_path / "root"))
    path = tmp_path / "trial.yaml"
    path.write_text("index:\n  n_bits: 3\n  n_tables: 4\n  probes: 2\n")
    settings = [argument for setting in (*TINY, f"artifacts.root={root}") for argument in ("--set", setting)]
    assert run_cli("experiment", str(path), *settings).returncode == 0
    listed = run_cli("builds", "--experiments", "--root", str(root))
    assert listed.stdout.splitlines()[-1].endswith("trial")
    (experiment,) = [
        row
        for row in json.loads(run_cli("builds", "--experiments", "--root", str(root), "--json").stdout)["builds"]
        if row["name"] == "trial"
    ]
    assert not experiment["published"]
    image_id = Searcher.open(root)._rows["image_id"][0].as_py()
    asked = run_cli("query", f"id:{image_id}", "--root", str(root), "--build", experiment["build_id"][:6])
    assert asked.returncode == 0, asked.stderr
    unknown = run_cli("query", f"id:{image_id}", "--root", str(root), "--build", "no-such")
    assert unknown.returncode == 1
    assert unknown.stderr.startswith("lookalike: there is no build 'no-such'; there are: ")
    assert len(unknown.stderr.strip().splitlines()) == 1


def test_a_mistake_in_one_of_several_files_names_the_file(tmp_path):
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("")
    bad.write_text("index:\n  n_bit: 3\n")
    done = run_cli("experiment", str(good), str(bad))
    assert done.returncode == 2
    assert done.stderr.startswith(f"lookalike: {bad}: unknown key index.n_bit")
