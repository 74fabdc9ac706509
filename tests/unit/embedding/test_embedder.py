import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from lookalike.config.sections import EmbeddingConfig
from lookalike.dataset.storage import open_dataset
from lookalike.embedding.embedder import Embedder
from lookalike.embedding.hook import HookedNetwork
from lookalike.embedding.table import load_embeddings
from lookalike.errors import ConfigError, EmbeddingError, ModelError
from lookalike.images.reading import open_image
from lookalike.stages.embed_all import embed_all
from lookalike.stages.fine_tune import fine_tune
from tests.tiny_model import tiny_training_config

pytestmark = pytest.mark.draws


@pytest.fixture(scope="module")
def embedder(model_folder, embeddings_folder):
    return Embedder.open(model_folder, embeddings_folder)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_query_vector_is_the_stored_one(embedding_config, dataset_folder, model_folder, tmp_path, precision):
    # Each image by itself in both; how batches differ is bounded by `test_how_the_work_is_cut_changes_no_vector`.
    config = embedding_config.model_copy(update={"precision": precision, "batch_size": 1})
    embed_all(config, dataset_folder, model_folder, tmp_path)
    embedder, embeddings, root = Embedder.open(model_folder, tmp_path), load_embeddings(tmp_path), dataset_folder
    for row in (0, 13, 29):
        path = open_dataset(root).root / embeddings.table["path"][row].as_py()
        vector = embedder.embed(open_image(path, target_size=embedder.image_size))
        assert vector.shape == (16,)
        assert vector.dtype == np.float32
        assert np.allclose(vector, embeddings.vectors[row], rtol=1e-4, atol=1e-5)


def test_embeddings_of_another_model_are_refused(other_model_folder, embeddings_folder):
    with pytest.raises(EmbeddingError, match="another model"):
        Embedder.open(other_model_folder, embeddings_folder)


def test_embeddings_of_another_layer_are_refused(model_folder, embeddings_folder, tmp_path):
    folder = shutil.copytree(embeddings_folder, tmp_path / "embeddings")
    description = json.loads((folder / "embedding.json").read_text())
    (folder / "embedding.json").write_text(json.dumps(description | {"layer": "head.linear"}))
    with pytest.raises(EmbeddingError, match="another model"):
        Embedder.open(model_folder, folder)


@pytest.mark.parametrize("name", ["network.xml", "network.bin"])
@pytest.mark.parametrize("fault", ["altered", "missing"])
def test_damaged_network_is_a_clear_error(model_folder, embeddings_folder, tmp_path, name, fault):
    folder = shutil.copytree(embeddings_folder, tmp_path / "embeddings")
    path = folder / name
    if fault == "missing":
        path.unlink()
    else:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    with pytest.raises(ModelError, match=rf"{name}.*build.* again"):
        Embedder.open(model_folder, folder)


def test_query_imports_neither_torch_nor_what_is_built_on_it(model_folder, embeddings_folder):
    code = (
        "import sys; from pathlib import Path; from PIL import Image; from lookalike.search import Searcher; "
        "assert 'openvino' not in sys.modules; from lookalike.embedding.embedder import Embedder; "
        f"embedder = Embedder.open(Path({str(model_folder)!r}), Path({str(embeddings_folder)!r})); "
        "embedder.embed(Image.effect_noise((50, 40), 60).convert('RGB')); "
        "print(sorted({'torch', 'fastai', 'timm', 'torchvision', 'matplotlib', 'prefect'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


class Pixels(nn.Module):
    """A network of images with named layers of every kind."""

    def __init__(self):
        super().__init__()
        self.map = nn.Conv2d(3, 4, 1)
        self.clip = nn.ReLU(inplace=True)
        self.tokens = nn.Flatten(2)
        self.pair = Pair()
        self.flat = nn.Flatten(0)
        self.unused = nn.Identity()

    def forward(self, images):
        found = self.pair(self.tokens(self.clip(self.map(images.float()))))[0]
        self.flat(found)
        return found


class Pair(nn.Module):
    def forward(self, tokens):
        return tokens, tokens


@pytest.fixture
def pixels():
    return torch.arange(2 * 5 * 6 * 3, dtype=torch.uint8).reshape(2, 5, 6, 3)


def test_hook_gives_what_the_layer_gave_averaged_over_places(pixels):
    network = Pixels()
    expected = network.map(pixels.permute(0, 3, 1, 2).float())
    with torch.no_grad():
        # Before the next layer clips it in place.
        assert torch.allclose(HookedNetwork(network, "map")(pixels), expected.mean(dim=(2, 3)))
        assert torch.allclose(HookedNetwork(network, "clip")(pixels), expected.relu().mean(dim=(2, 3)))
        assert HookedNetwork(network, "tokens")(pixels).shape == (2, 30)


@pytest.mark.parametrize(
    ("layer", "found"), [("pair", "gives tuple"), ("flat", r"a tensor of shape \(240,\)"), ("unused", "gives nothing")]
)
def test_hook_on_a_layer_that_gives_no_vectors_raises(pixels, layer, found):
    with pytest.raises(ConfigError, match=rf"embedding\.layer: {layer} must give one vector .*{found}"):
        HookedNetwork(Pixels(), layer)(pixels)


@pytest.mark.parametrize("layer", ["", "2", "0.weight"])
def test_hook_on_no_layer_raises(layer):
    with pytest.raises(ConfigError, match="the layers are 0, 1"):
        HookedNetwork(nn.Sequential(nn.ReLU(), nn.ReLU()), layer)


def test_components_alone_are_embedded_as_torch_and_the_hook_define_them(dataset_folder, tmp_path):
    fine_tune(tiny_training_config(frozen_epochs=0, pretrained_components=16), dataset_folder, tmp_path / "model")
    config = EmbeddingConfig(layer="head.embedding", precision="fp32", verify_rows=24)
    embed_all(config, dataset_folder, tmp_path / "model", tmp_path / "embeddings")
    assert load_embeddings(tmp_path / "embeddings").vectors.shape == (open_dataset(dataset_folder).catalog.num_rows, 16)
