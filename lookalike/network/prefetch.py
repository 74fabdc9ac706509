"""Earlier names of what is now in `lookalike.threads`."""

from lookalike.threads import ordered_map as prefetch
from lookalike.threads import resolve_workers

__all__ = ["prefetch", "resolve_workers"]
