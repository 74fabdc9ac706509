"""Prefect automations that report refused, failed and missing builds of a collection.

The trigger is the state of its `build` runs: Completed is published, Refused was stopped by the gate,
the others failed. The Prefect server watches them; no other process has to run.
"""

import logging
from datetime import timedelta
from uuid import UUID

from prefect.automations import Automation
from prefect.client.orchestration import get_client
from prefect.events import EventTrigger
from prefect.events.actions import SendNotification
from prefect.events.schemas.automations import Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound

from lookalike.errors import ConfigError

logger = logging.getLogger("lookalike.notify")

_RUN = "build/{name}, run {{{{ flow_run.name }}}}: {{{{ flow_run.state.message }}}}"


def notify_of_builds(name: str, block: str, hours: float = 24) -> None:
    """Create three automations for the deployment build/NAME, replacing earlier ones.

    `block` is TYPE/NAME of a notification block on the server, such as `slack-webhook/team`. Raises
    ConfigError if the server has no such block or deployment.
    """
    deployment, action_block = _deployment_id(name), _block_id(block)
    whose = [ResourceSpecification({"prefect.resource.id": [f"prefect.deployment.{deployment}"]})]
    silence = timedelta(hours=hours)
    ended = {state: f"prefect.flow-run.{state}" for state in ("Refused", "Failed", "TimedOut", "Crashed", "Completed")}
    refused = EventTrigger(expect={ended["Refused"]}, match_related=whose, posture=Posture.Reactive, threshold=1)
    failed = EventTrigger(
        expect={ended[state] for state in ("Failed", "TimedOut", "Crashed")},
        match_related=whose,
        posture=Posture.Reactive,
        threshold=1,
    )
    missing = EventTrigger(
        expect={ended["Completed"]}, match_related=whose, posture=Posture.Proactive, threshold=1, within=silence
    )
    body = _RUN.format(name=name)
    for what, trigger, text in (
        ("build refused", refused, body),
        ("build failed", failed, body),
        ("no publication", missing, f"build/{name} has published nothing within {silence}"),
    ):
        title = f"lookalike {name}: {what}"
        _remove(title)
        action = SendNotification(block_document_id=action_block, subject=title, body=text)
        Automation(name=title, description="Made by `lookalike notify`", trigger=trigger, actions=[action]).create()
        logger.info("automation: %s", title)


def _remove(title: str) -> None:
    with get_client(sync_client=True) as client:
        for automation in client.read_automations_by_name(title):
            client.delete_automation(automation.id)


def _deployment_id(name: str) -> UUID:
    with get_client(sync_client=True) as client:
        try:
            return client.read_deployment_by_name(f"build/{name}").id
        except ObjectNotFound as error:
            raise ConfigError(
                f"there is no deployment build/{name} on the Prefect server; run `lookalike serve` or `deploy` first"
            ) from error


def _block_id(block: str) -> UUID:
    kind, _, name = block.partition("/")
    with get_client(sync_client=True) as client:
        try:
            return client.read_block_document_by_name(name=name, block_type_slug=kind).id
        except ObjectNotFound as error:
            raise ConfigError(
                f"there is no block {block!r} on the Prefect server; make one on its page Blocks, such as "
                "slack-webhook/NAME or custom-webhook/NAME"
            ) from error
