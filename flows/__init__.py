"""Prefect flows: the order of the stages, and nothing else."""

# First of all, for the Prefect settings in it, which must be in place before Prefect is imported.
import tasks as tasks
