"""The commands of `lookalike`, one module per group; importing them fills `declaring.COMMANDS`.

Heavy imports stand inside the functions: `query` and `status` must not wait for Prefect, nor anything for torch.
"""

from flows.commands import building, querying, serving, store

__all__ = ["building", "querying", "serving", "store"]
