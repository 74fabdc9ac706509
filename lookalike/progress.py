"""Progress bars on a terminal, and a line every ten seconds elsewhere."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

# In a log file a bar redraws as one line each; a line every ten seconds is enough there.
_SECONDS_BETWEEN_LOG_LINES = 10.0
_SECONDS_BETWEEN_REDRAWS = 0.2


@contextmanager
def progress_bar(description: str, total: int | None, unit: str = "image") -> Iterator["tqdm[Any]"]:
    """Yield a tqdm bar on stderr; call its `update(count)`. `unit="B"` counts bytes and scales them."""
    on_terminal = sys.stderr.isatty()
    bar = tqdm(
        desc=description,
        total=total,
        unit=unit,
        unit_scale=unit == "B",
        unit_divisor=1024 if unit == "B" else 1000,
        file=sys.stderr,
        mininterval=_SECONDS_BETWEEN_REDRAWS if on_terminal else _SECONDS_BETWEEN_LOG_LINES,
        dynamic_ncols=on_terminal,
        leave=True,
    )
    with bar:
        yield bar


def track(items: Iterable[Item], description: str, total: int | None = None, unit: str = "image") -> Iterator[Item]:
    """Yield `items` while a progress bar counts them."""
    with progress_bar(description, total, unit) as bar:
        for item in items:
            yield item
            bar.update(1)
