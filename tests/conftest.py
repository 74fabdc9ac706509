"""Settings for every test: no telemetry, a Prefect home of their own, reproducible Hypothesis runs."""

import os
import tempfile

import pytest
from hypothesis import HealthCheck, settings

import tasks as tasks  # The project's Prefect settings, telemetry off among them, in place before Prefect is imported.

# Before anything imports Prefect: it reads its home when it is imported, and tests must not touch the user's.
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="lookalike-prefect-home-")
os.environ.pop("PREFECT_API_URL", None)
# The same for the private servers of `lookalike build`, whose homes are below the user's cache folder.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="lookalike-cache-")

# The real dataset, for the few tests that ask for it by this name. It must not stay in the environment: every other
# test of the source `caltech101`, and every process that one starts, would take it instead of its own small archive.
CALTECH101_ARCHIVE = os.environ.pop("LOOKALIKE_CALTECH101", None)

# Derandomized: a test that fails on one machine fails on every one. No deadline and no complaint about slow
# generation, since a busy machine is no defect of the code.
settings.register_profile(
    "lookalike", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("lookalike")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests that start Prefect last, in their own order otherwise.

    Its background threads outlive the tests and draw from `random`, which Hypothesis takes for a strategy that
    is not reproducible.
    """
    items.sort(key=lambda item: "flows" in item.path.parts[-2:-1])
