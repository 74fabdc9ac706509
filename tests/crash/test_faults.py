"""Full disks, roots that cannot be written, builds that race, queries during builds, a clock that goes backwards."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from lookalike.errors import ArtifactError
from lookalike.pipeline.garbage import clear
from lookalike.pipeline.maintenance import list_builds, roll_back, verify
from lookalike.store.artifacts import Store
from lookalike.store.events import read_events
from tests.crash.conftest import Reference, Zygote, leftovers, manifests, root_before
from tests.tiny_build import TINY_SETTINGS, answer_of

MOUNTS_ALLOWED = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0
needs_mounts = pytest.mark.skipif(not MOUNTS_ALLOWED, reason="mounting needs more rights than this user has")
STAGES = ("download_dataset", "fine_tune", "embed_all", "build_lsh", "evaluate_recall", "publish")


def check_full_disk(zygote: Zygote, reference: Reference, stage: str, number: int, root: Path) -> None:
    """No space from one point on: one clear line; the old build answers; with room again all ends well."""
    root_before(reference, stage, root)
    failed, done = zygote.run(root, reference.settings, stage=stage, full_at=number)["outcomes"]
    # Pages about a finished build are the one thing that may fail unnoticed.
    assert "No space left on device" in failed["error"] or "no space left on the disk" in failed["error"], failed
    assert "\n" not in failed["error"]
    assert done["digests"] == reference.new.outcome["digests"]
    assert answer_of(root) == reference.new.answer
    assert verify(Store(root), deep=True) == []
    clear(Store(root), keep=1, grace_seconds=0)
    assert leftovers(root) == []


@pytest.mark.parametrize(("stage", "number"), [("embed_all", 4), ("publish", 0)])
def test_a_full_disk_is_one_line_and_the_next_build_goes_on(zygote, reference, tmp_path, stage, number):
    check_full_disk(zygote, reference, stage, number, tmp_path / "root")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_full_disk_at_every_write(zygote, reference, tmp_path):
    failures, count = [], 0
    for stage in STAGES:
        kinds = [kind for at, kind, _ in reference.events if at == stage]
        for number in [n for n, kind in enumerate(kinds) if kind in ("open", "os.mkdir")][::3]:
            count += 1
            try:
                check_full_disk(zygote, reference, stage, number, tmp_path / "root")
            except Exception as error:  # One failure must not hide the others.
                failures.append(f"{stage} {number}: {str(error)[:400]}")
            shutil.rmtree(tmp_path / "root")
    print(f"full disk: {count} points, {len(failures)} failures")  # noqa: T201
    assert not failures, "\n".join(failures)


def check_small_disk(zygote: Zygote, reference: Reference, size_bytes: int, root: Path) -> str:
    failed, done = zygote.run(root, reference.settings, disk_bytes=size_bytes)["outcomes"]
    assert done["digests"] == reference.new.outcome["digests"]
    return failed.get("error", "") or failed.get("traceback", "")


@needs_mounts
def test_a_disk_that_fills_up_ends_the_build_with_one_line(zygote, reference, tmp_path):
    error = check_small_disk(zygote, reference, 400_000, tmp_path / "root")
    assert error == "no space left on the disk; make room and start again: finished stages are kept"


@needs_mounts
@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("size_bytes", [65_536, 120_000, 240_000, 280_000, 500_000, 700_000, 1_250_000])
def test_disks_of_all_sizes_fill_up_with_one_line(zygote, reference, tmp_path, size_bytes):
    error = check_small_disk(zygote, reference, size_bytes, tmp_path / "root")
    print(f"disk of {size_bytes} bytes: {error or 'large enough'}")  # noqa: T201
    assert "Traceback" not in error


def run_below_read_only(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line where the root is mounted read-only, as from a snapshot."""
    script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, str(root), sys.executable, "-m", "flows.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


@needs_mounts
def test_a_read_only_root_answers_queries(reference):
    image_id = reference.old.answer[0][0]
    done = run_below_read_only(reference.root, "query", f"id:{image_id}", "--root", str(reference.root))
    assert done.returncode == 0, done.stderr
    assert "6 most similar" in done.stdout


@needs_mounts
@pytest.mark.parametrize("command", ["status", "builds", "builds --experiments", "verify", "query --build"])
def test_a_read_only_root_can_be_looked_at(reference, command):
    options = command.split()
    if options[0] == "query":
        options = ["query", f"id:{reference.old.answer[0][0]}", "--build", reference.old.outcome["build_id"][:8]]
    done = run_below_read_only(reference.root, *options, "--root", str(reference.root))
    assert done.returncode == 0, done.stderr
    assert "\n" in done.stdout
    assert done.stderr == ""


@needs_mounts
@pytest.mark.parametrize("command", ["build", "gc", "rollback"])
def test_a_read_only_root_refuses_changes_with_one_line(reference, command):
    settings = [*TINY_SETTINGS, *reference.settings, f"artifacts.root={reference.root}"]
    options = {
        "build": [argument for setting in settings for argument in ("--set", setting)],
        "gc": ["--root", str(reference.root)],
        "rollback": [reference.old.outcome["build_id"], "--root", str(reference.root)],
    }[command]
    done = run_below_read_only(reference.root, command, *options)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "cannot be written" in done.stderr or "Read-only file system" in done.stderr


def test_two_builds_at_once_build_each_stage_once_and_both_end_well(zygote, reference, tmp_path):
    root = root_before(reference, "embed_all", tmp_path / "root")
    children = [zygote.start(root, reference.settings) for _ in range(2)]
    outcomes = [zygote.wait(child)["outcomes"][0] for child in children]
    for step in ("embed_all", "build_lsh", "evaluate_recall"):
        assert sorted(outcome["steps"][step] for outcome in outcomes) == ["built", "cached"], step
    assert {outcome["build_id"] for outcome in outcomes} == {reference.new.outcome["build_id"]}
    assert all(outcome["published"] for outcome in outcomes)
    assert answer_of(root) == reference.new.answer
    assert [event.sequence for event in read_events(root)] == [1, 2]
    assert len(list(root.glob("*/*/attempt-*"))) == len(manifests(root))


def ask_until(root: Path, done: Future) -> list[list[tuple[str, float]]]:
    answers = [answer_of(root)]
    while not done.done():
        answers.append(answer_of(root))
    return answers


def test_queries_during_rollbacks_and_clearing_get_whole_answers(reference, tmp_path):
    root = Path(shutil.copytree(reference.finished, tmp_path / "root"))
    builds = [build["build_id"] for build in list_builds(Store(root))]

    def change_over() -> None:
        for number in range(100):
            roll_back(Store(root), builds[number % 2])
            if number % 10 == 0:
                clear(Store(root), keep=2, grace_seconds=0)

    with ThreadPoolExecutor(1) as pool:
        answers = ask_until(root, pool.submit(change_over))
    wrong = [answer for answer in answers if answer not in (reference.old.answer, reference.new.answer)]
    assert wrong == []


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_queries_during_builds_and_clearing_get_whole_answers(zygote, reference, image_server, tmp_path):
    from tests.crash.conftest import mirror

    root = Path(shutil.copytree(reference.root, tmp_path / "root"))

    def build_in_turn() -> None:
        for name in ("new", "old", "new"):
            outcome = zygote.run(root, mirror(image_server, name))["outcomes"][0]
            assert outcome["published"]
            clear(Store(root), keep=1, grace_seconds=0)

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(build_in_turn)
        answers = ask_until(root, future)
        future.result()
    wrong = [answer for answer in answers if answer not in (reference.old.answer, reference.new.answer)]
    print(f"{len(answers)} queries during 3 builds, {len(wrong)} wrong or mixed")  # noqa: T201
    assert wrong == []
    assert answers[-1] == reference.new.answer


def test_a_clock_that_goes_back_a_year_changes_no_order(zygote, reference, tmp_path):
    root = root_before(reference, "build_lsh", tmp_path / "root")
    year_seconds = 365 * 24 * 3600
    done = zygote.run(root, reference.settings, clock_seconds=year_seconds)["outcomes"][0]
    assert done["digests"] == reference.new.outcome["digests"]
    store = Store(root)
    old, new = list_builds(store)
    assert new["created_at"] < old["created_at"]
    assert (old["is_current"], new["is_current"]) == (False, True)
    assert roll_back(store, None).build_id == old["build_id"]
    assert clear(store, keep=2) == []


def test_files_from_the_future_stay_cached(zygote, reference, tmp_path):
    root = Path(shutil.copytree(reference.finished, tmp_path / "root"))
    for path in root.rglob("*"):
        os.utime(path, (2e9, 2e9))
    done = zygote.run(root, reference.settings)["outcomes"][0]
    assert set(done["steps"].values()) == {"cached"}


def test_a_damaged_current_is_replaced_by_the_next_build(zygote, reference, tmp_path):
    root = Path(shutil.copytree(reference.finished, tmp_path / "root"))
    (root / "current.json").write_text('{"build_id": ')
    with pytest.raises(ArtifactError, match=r"current\.json is not valid JSON"):
        answer_of(root)
    assert zygote.run(root, reference.settings)["outcomes"][0]["published"]
    assert answer_of(root) == reference.new.answer
