"""What comes over the network: one image from a URL, or a large file from configured mirrors.

The network libraries are loaded by the first use, since most queries name a file.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lookalike.config import Mirror, QueryConfig

if TYPE_CHECKING:
    from lookalike.download import DownloadedFile


def fetch_image_bytes(url: str, config: QueryConfig) -> bytes:
    """Return the bytes of the image file at `url`, which may come from a stranger.

    At most `config.max_redirects` redirects are followed, `config.max_bytes` read, and all of it takes
    at most `config.timeout_seconds`. Raises `DownloadError` when the image cannot be fetched within
    these limits or must not be (scheme, port, private address), and `ImageError` when what came is
    no image.
    """
    from lookalike.addresses import is_public
    from lookalike.guarded_fetch import fetch, permits_all

    return fetch(url, config, permits_all if config.allow_private_addresses else is_public)


def download_file(
    mirrors: Sequence[Mirror], target: Path, *, check: Callable[[Path], None] | None = None
) -> "DownloadedFile":
    """Return the file at `target` from the first good mirror; see `download.download_file` for the details."""
    from lookalike import download

    return download.download_file(mirrors, target, check=check)
