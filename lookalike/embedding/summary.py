"""What the stage embed_all reports."""

from dataclasses import dataclass


@dataclass(frozen=True)
class EmbeddingSummary:
    """Counts and speed of one embedding run; `rows` + `rejects` = rows of the catalog.

    `reused_shards` were finished by an interrupted run, and `embedded` images had no vector from any earlier
    run. `images_per_second` covers these, decoding included, and is 0 if there were none. `bf16_overlap` is
    the share of the ten nearest neighbors that bf16 and fp32 had in common on a sample, or None if bf16 was
    not considered.
    """

    rows: int
    rejects: int
    dim: int
    shards: int
    reused_shards: int
    embedded: int
    precision: str
    bf16_overlap: float | None
    seconds: float
    images_per_second: float
