import json

from lookalike.store import Store
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
    assert "index.n_bits" in broken["error"]
    assert Store(tmp_path / "root").read_current() is None


def test_the_table_names_every_configuration(built, tmp_path):
    path = tmp_path / "as-built.yaml"
    path.write_text("")
    settings = [argument for setting in (*TINY, f"artifacts.root={built[0]}") for argument in ("--set", setting)]
    done = run_cli("experiment", str(path), *settings)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("| as-built | 0.")
    done = run_cli("experiment", str(path), *settings, "--json")
    assert set(json.loads(done.stdout)["experiments"][0]["steps"].values()) == {"cached"}
