import pytest

from lookalike.config.sections import EmbeddingConfig
from lookalike.stages.embed_all import embed_all
from lookalike.stages.fine_tune import fine_tune
from tests.tiny_model import make_dataset, tiny_training_config


@pytest.fixture(scope="session")
def dataset_folder(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("embedding"), per_label=10)


@pytest.fixture(scope="session")
def model_folder(dataset_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    fine_tune(tiny_training_config(), dataset_folder, folder)
    return folder


@pytest.fixture(scope="session")
def other_model_folder(dataset_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("other-model")
    fine_tune(tiny_training_config(seed=1), dataset_folder, folder)
    return folder


@pytest.fixture(scope="session")
def embedding_config():
    return EmbeddingConfig(precision="fp32", shard_rows=8, batch_size=4, workers=2)


@pytest.fixture(scope="session")
def embeddings_folder(embedding_config, dataset_folder, model_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("embeddings")
    embed_all(embedding_config, dataset_folder, model_folder, folder)
    return folder
