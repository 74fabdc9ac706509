"""What the configuration accepts as a schedule, Prefect accepts too, and it comes round."""

import asyncio
import zoneinfo
from datetime import UTC, datetime
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect.client.schemas.schedules import CronSchedule
from prefect.server.schemas.schedules import CronSchedule as ServerCronSchedule

from lookalike.config.schedules import checked_cron, checked_timezone

GOOD_FIELDS = [
    ["*", "*/5", "0", "7", "59", "1,3", "1-5/2", "5/15"],
    ["*", "3", "23", "9-17", "*/6"],
    ["*", "1", "L", "15", "1-7", "31"],
    ["*", "1", "JAN", "jan-jun", "*/2", "2"],
    ["*", "0", "7", "MON", "MON-FRI", "5#2", "sun#1", "1,3"],
]
BAD_FIELDS = ["?", "R", "H", "W", "LW", "5L", "L-3", "*/0", "60", "24", "-1", "5-1", "", "@daily", "a", "1,,2", "**"]
EXPRESSIONS = st.tuples(*(st.sampled_from(terms) for terms in GOOD_FIELDS)).map(" ".join) | st.lists(
    st.sampled_from([*chain(*GOOD_FIELDS), *BAD_FIELDS]), min_size=4, max_size=6
).map(" ".join)


def is_accepted(check, value: str) -> bool:
    try:
        check(value)
    except ValueError:
        return False
    return True


def next_dates(expression: str) -> list[datetime]:
    schedule = ServerCronSchedule(cron=expression, timezone="Europe/Berlin")
    return asyncio.run(schedule.get_dates(2, datetime(2026, 1, 1, tzinfo=UTC)))


@given(expression=EXPRESSIONS)
def test_prefect_takes_every_expression_that_the_settings_take(expression):
    if is_accepted(checked_cron, expression):
        assert CronSchedule(cron=expression, timezone="UTC").cron == expression
        assert len(next_dates(expression)) == 2


@pytest.mark.parametrize(
    "expression", ["0 3 * * *", "*/5 * * * *", "0 3 L * *", "0 3 * * MON-FRI", "5 4 1,15 jan-jun *"]
)
def test_usual_expressions_are_taken(expression):
    assert checked_cron(expression) == expression


def test_prefect_takes_every_time_zone_that_the_settings_take():
    zones = [zone for zone in sorted(zoneinfo.available_timezones()) if is_accepted(checked_timezone, zone)]
    assert len(zones) > 400
    for zone in zones:
        assert CronSchedule(cron="0 3 * * *", timezone=zone).timezone == zone
