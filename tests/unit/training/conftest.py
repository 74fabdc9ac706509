import pytest

from tests.tiny_model import make_dataset


@pytest.fixture(scope="session")
def dataset_folder(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("training"))
