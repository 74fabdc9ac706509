"""An automation that marks a run as crashed when its heartbeat stops: a killed process reports nothing itself."""

from datetime import timedelta

from prefect.automations import Automation
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.events import EventTrigger
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.settings import get_current_settings

NAME = "lookalike: mark killed runs as crashed"
# One heartbeat can be late on a busy machine without anything being wrong.
_HEARTBEATS_MISSED = 3
_END_STATES = ("Completed", "Failed", "Cancelled", "Crashed")


def watch_for_killed_runs() -> bool:
    """Make the server mark silent runs as Crashed; False if it does so already, or heartbeats are off.

    A run that stays Running would block the next scheduled build, of which only one may run.
    """
    heartbeat_seconds = get_current_settings().flows.heartbeat_frequency
    with get_client(sync_client=True) as client:
        if heartbeat_seconds is None or client.read_automations_by_name(NAME):
            return False
    _automation(timedelta(seconds=_HEARTBEATS_MISSED * heartbeat_seconds)).create()
    return True


def _automation(silence: timedelta) -> Automation:
    heartbeat = "prefect.flow-run.heartbeat"
    return Automation(
        name=NAME,
        description="Set up by `lookalike serve`; delete it to change how long a run may be silent",
        trigger=EventTrigger(
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            for_each={"prefect.resource.id"},
            after={heartbeat},
            expect={heartbeat, *(f"prefect.flow-run.{state}" for state in _END_STATES)},
            posture=Posture.Proactive,
            threshold=1,
            within=silence,
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message="no heartbeat: the process was killed")],
    )
