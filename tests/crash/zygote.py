"""A process that has imported everything and forks a child for each build, so that a kill costs no new import.

Reads one JSON command a line from stdin and answers with one JSON line: `start` forks a build and
answers with its number, `wait` answers how it ended. The build is the product's own: the five stages
and publishing. What is done to it stands in `faults.py`.
"""

import json
import os
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

from lookalike.errors import LookalikeError, describe_system_error
from lookalike.pipeline.registry import STAGES
from tests.crash.faults import Watch, prepare
from tests.staged import act
from tests.tiny_build import run_build


def run_child(command: dict[str, Any], answer: Path) -> None:
    """Run one command as configured, and leave what came out in the file `answer`."""
    watch = Watch(command)
    outcomes = []
    for change in prepare(command, watch):
        change()
        outcomes.append(_try(command, watch))
    answer.write_text(json.dumps({"outcomes": outcomes, "events": watch.events}))


def _try(command: dict[str, Any], watch: Watch) -> dict[str, Any]:
    root = Path(command["root"])
    try:
        if "act" in command:
            return act(root, command["act"], lambda: setattr(watch, "stage", command["act"]))
        return run_build(root, command["settings"], lambda name: setattr(watch, "stage", name))
    except LookalikeError as error:
        return {"error": str(error)}
    except Exception as error:
        # What the command line would print: one line, or a traceback for a defect.
        return {"error": describe_system_error(error), "traceback": traceback.format_exc()}


def import_everything() -> None:
    """Import what builds import on the way; nothing may compute yet, since threads do not survive a fork."""
    for name in (
        "fastai.callback.schedule",
        "fastai.vision.learner",
        "lookalike.stages.download_dataset",
        "lookalike.stages.embed_all",
        "lookalike.stages.evaluate_recall",
        "lookalike.stages.build_lsh",
        "lookalike.stages.fine_tune",
        "matplotlib.backends.backend_agg",
        "timm",
    ):
        import_module(name)
    for stage in STAGES.values():
        stage.version()  # Remembered, so that every build has the same, even while somebody edits the code.


def main(folder: Path) -> None:
    """Answer commands until stdin ends; children write their answers and their output to `folder`."""
    import_everything()
    children: list[int] = []
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "start":
            children.append(_fork(command, folder, len(children)))
            reply: dict[str, Any] = {"child": len(children) - 1}
        else:
            number = command["child"]
            _, status = os.waitpid(children[number], 0)
            answer = folder / f"{number}.json"
            reply = json.loads(answer.read_text()) if answer.exists() else {}
            reply["exit"] = os.waitstatus_to_exitcode(status)
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


def _fork(command: dict[str, Any], folder: Path, number: int) -> int:
    child = os.fork()
    if child:
        return child
    os.setsid()
    log = os.open(folder / f"{number}.log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    code = 1
    try:
        run_child(command, folder / f"{number}.json")
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)
    raise AssertionError("unreachable")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
