"""`lookalike index`: a folder of photographs without labels becomes an index, by one fixed configuration."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from lookalike.dataset.storage import open_dataset
from lookalike.errors import ArtifactError
from lookalike.store.artifacts import Store

# The same as configs/photos.yaml, which an installed package does not have.
PHOTOS_CONFIG = Path(__file__).with_name("photos.yaml")


def index_settings(folder: Path, root: Path, settings: Sequence[str] = ()) -> list[str]:
    """Return the overrides of PHOTOS_CONFIG for a folder and an artifact root; `settings` come on top."""
    return [f"dataset.folder={folder}", f"artifacts.root={root}", *settings]


def how_to_ask(folder: Path, root: Path) -> str:
    """Return the command that queries the published build below `root` with the first image of `folder`."""
    current = Store(root).find_current()
    if current is None:
        raise ArtifactError(f"nothing is published below {root}")
    image = folder / open_dataset(root / current["artifacts"]["download_dataset"]).catalog["path"][0].as_py()
    return f"lookalike query {shlex.quote(str(image))} --root {shlex.quote(str(root))} --output result.png"
