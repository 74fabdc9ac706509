import pytest

from lookalike.search import Searcher
from tests.tiny_build import folder_source, run_build
from tests.tiny_model import make_images


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """An artifact root with one published build of 15 images; tests must not change it."""
    folder = tmp_path_factory.mktemp("search")
    source = folder_source(make_images(folder / "images", per_label=5))
    run_build(folder / "root", [*source, "dataset.max_pixels=1000000"])
    return folder / "root"


@pytest.fixture(scope="session")
def searcher(root):
    with Searcher.open(root, ["query.allow_private_addresses=true"]) as opened:
        yield opened
