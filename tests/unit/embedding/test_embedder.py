import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lookalike.dataset import open_dataset
from lookalike.embedding import Embedder, load_embeddings, load_metadata
from lookalike.embedding.checks import relative_difference
from lookalike.embedding.hook import hooked
from lookalike.embedding.light import open_light_model
from lookalike.embedding.model import ModelReference, open_model
from lookalike.errors import ConfigError, EmbeddingError
from lookalike.images import open_image
from lookalike.training import fine_tune
from tests.tiny_model import tiny_training_config


@pytest.fixture(scope="module")
def embedder(model_folder, embeddings_folder):
    return Embedder.open(model_folder, embeddings_folder)


def test_query_vector_is_the_stored_one(embedder, embeddings_folder, dataset_folder):
    embeddings, root = load_embeddings(embeddings_folder), open_dataset(dataset_folder).root
    for row in (0, 13, 29):
        image = open_image(root / embeddings.table["path"][row].as_py(), target_size=embedder.image_size)
        vector = embedder.embed(image)
        assert vector.shape == (16,)
        assert vector.dtype == np.float32
        assert np.allclose(vector, embeddings.vectors[row], rtol=1e-4, atol=1e-5)


def test_many_are_embedded_as_one_by_one(embedder):
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 255, (30, 20 + n, 3), dtype=np.uint8)) for n in range(11)]
    together = embedder.embed_many(images)
    assert np.allclose(together, [embedder.embed(image) for image in images], rtol=1e-4, atol=1e-5)


def test_no_image_gives_no_vector(embedder):
    assert embedder.embed_many([]).shape == (0, 16)


def test_embeddings_of_another_model_are_refused(other_model_folder, embeddings_folder):
    with pytest.raises(EmbeddingError, match="another model"):
        Embedder.open(other_model_folder, embeddings_folder)


def test_embeddings_of_another_layer_are_refused(model_folder, embeddings_folder):
    metadata = load_metadata(embeddings_folder) | {"layer": "head.linear"}
    with pytest.raises(EmbeddingError, match="another model"):
        Embedder.open(model_folder, metadata)


def test_opening_imports_no_training_code(model_folder, embeddings_folder):
    code = (
        "import sys; from pathlib import Path; import lookalike.embedding as e; "
        "assert 'torch' not in sys.modules; "
        f"e.Embedder.open(Path({str(model_folder)!r}), Path({str(embeddings_folder)!r})); "
        "print(sorted({'fastai', 'timm', 'torchvision', 'matplotlib', 'prefect'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_hook_is_removed_whatever_happens():
    network = nn.Sequential(nn.Linear(2, 3), nn.ReLU()).train()
    with pytest.raises(RuntimeError, match="shapes"), hooked(network, "0"):
        network(torch.ones(1, 99))
    assert not network[0]._forward_hooks
    assert network.training


def test_hook_gives_the_output_once():
    network = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    with hooked(network, "0") as output:
        network(torch.ones(4, 2))
        assert torch.allclose(output.take(), network[0](torch.ones(4, 2)))
        output.take()
        with pytest.raises(RuntimeError, match="no forward pass"):
            output.take()


def test_hook_averages_over_places():
    with hooked(nn.Sequential(nn.Identity()), "0") as output:
        pass
    network = nn.Sequential(nn.Identity())
    with hooked(network, "0") as output:
        network(torch.arange(8.0).reshape(1, 2, 2, 2))
        assert output.take().tolist() == [[1.5, 5.5]]


@pytest.mark.parametrize("layer", ["", "2", "0.weight"])
def test_hook_on_no_layer_raises(layer):
    with pytest.raises(ConfigError, match="the layers are 0, 1"), hooked(nn.Sequential(nn.ReLU(), nn.ReLU()), layer):
        pass


def test_relative_difference():
    assert relative_difference(np.array([3.0, 4.0], np.float32), np.array([3.0, 4.5], np.float32)) == pytest.approx(0.1)
    assert relative_difference(np.zeros(2, np.float32), np.zeros(2, np.float32)) == 0.0


def test_light_model_gives_the_vectors_of_torch(light_model_folder):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (2, 32, 32, 3), dtype=np.uint8)
    for layer in ("head.pool", "head.norm", "head.linear", "head.activation", "head.embedding", "head.norm2"):
        light = open_light_model(light_model_folder, layer)
        full = open_model(ModelReference(light_model_folder, layer, "fp32"))
        assert light.fingerprint == full.fingerprint
        assert np.allclose(light.embed(pixels), full.embed(pixels), rtol=1e-3, atol=1e-4)


def test_light_model_of_components_alone_gives_the_vectors_of_torch(dataset_folder, tmp_path):
    config = tiny_training_config(backbone="resnet18", frozen_epochs=0, kept_units=16)
    fine_tune(config, dataset_folder, tmp_path)
    pixels = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3), dtype=np.uint8)
    light = open_light_model(tmp_path, "head.embedding")
    full = open_model(ModelReference(tmp_path, "head.embedding", "fp32"))
    assert light.embed(pixels).shape == (2, 16)
    assert np.allclose(light.embed(pixels), full.embed(pixels), rtol=1e-3, atol=1e-4)


def test_light_model_leaves_other_layers_and_networks_to_torch(light_model_folder, model_folder):
    assert open_light_model(light_model_folder, "body.layer1") is None
    assert open_light_model(light_model_folder, "head.classifier") is None
    assert open_light_model(model_folder, "head.activation") is None


def test_first_images_need_no_torch_and_later_ones_agree(light_model_folder, light_embeddings_folder):
    code = (
        "import sys; from pathlib import Path; from PIL import Image; import numpy as np; "
        "from lookalike.embedding import Embedder; "
        f"e = Embedder.open(Path({str(light_model_folder)!r}), Path({str(light_embeddings_folder)!r})); "
        "image = Image.effect_noise((50, 40), 60).convert('RGB'); "
        "first = e.embed(image); assert 'torch' not in sys.modules; "
        "later = e.embed_many([image] * 9); assert 'torch' in sys.modules; "
        "print(float(np.abs(later - first).max() / np.abs(first).max()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1e-4
