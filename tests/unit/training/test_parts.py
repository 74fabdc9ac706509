from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import nn

from lookalike.dataset.storage import open_dataset
from lookalike.errors import ConfigError
from lookalike.network.backbones import build_body, find_backbone
from lookalike.network.embedding_network import Normalize
from lookalike.network.head import Head, SeededDropout
from lookalike.network.inference import CONVERSION_TOLERANCE, OpenVINORunner, relative_difference
from lookalike.network.preprocessing import Preprocessing
from lookalike.training import loop
from lookalike.training.augmentation import random_box
from lookalike.training.batches import FeatureBatches, ImageBatches
from lookalike.training.context import labelled_images
from lookalike.training.features import compute_features, ready_layers, store_activations
from lookalike.training.loop import parameter_groups
from lookalike.training.phases import interpolate
from lookalike.training.replicas import replicated
from lookalike.training.splitting import split_body
from tests.tiny_model import LABELS, tiny_training_config

pytestmark = pytest.mark.draws
CPU = torch.device("cpu")
PREPROCESSING = Preprocessing(32, "squish", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.fixture(scope="module")
def images(dataset_folder):
    return labelled_images(open_dataset(dataset_folder), "train", LABELS)


def test_image_batches_without_shuffling_keep_order_and_every_image(images):
    batches = list(ImageBatches(images, PREPROCESSING, batch_size=4))
    assert len(batches) == len(ImageBatches(images, PREPROCESSING, batch_size=4))
    assert torch.equal(torch.cat([labels for _, labels in batches]), images.labels)
    first = batches[0][0]
    assert first.dtype == torch.uint8
    assert torch.equal(first[1].permute(1, 2, 0), torch.from_numpy(PREPROCESSING.pixels(images.open(1, 32))))


def test_shuffled_passes_differ_and_repeat_by_seed(images):
    one, two = (ImageBatches(images, PREPROCESSING, 4, "moderate", shuffle_seed=5) for _ in range(2))
    first, again = next(iter(one)), next(iter(two))
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], next(iter(one))[0])


@pytest.mark.parametrize(("n", "length"), [(3, 1), (4, 1), (7, 1), (8, 2)])
def test_shuffled_batches_drop_an_incomplete_one_unless_alone(n, length):
    batches = FeatureBatches(torch.zeros(1, n, 2), torch.zeros(n, dtype=torch.int64), 4, shuffle_seed=0)
    assert len(list(batches)) == len(batches) == length


def test_feature_batches_mix_views_only_when_shuffled():
    features = torch.stack([torch.zeros(50, 1), torch.ones(50, 1)])
    labels = torch.zeros(50, dtype=torch.int64)
    shuffled = torch.cat([some for some, _ in FeatureBatches(features, labels, 10, shuffle_seed=0)])
    assert 0 < int(shuffled.sum()) < 50
    assert all(not some.any() for some, _ in FeatureBatches(features, labels, 10))


def test_random_box_lies_inside_the_image():
    rng = np.random.default_rng(0)
    for width, height in [(1, 1), (1, 300), (640, 480)]:
        for _ in range(200):
            left, upper, right, lower = random_box(width, height, rng)
            assert 0 <= left < right <= width
            assert 0 <= upper < lower <= height


@pytest.mark.parametrize(("share", "expected"), [(1.0, 3.0), (0.0, 1.0), (0.25, 1.5)])
def test_interpolate_moves_between_start_and_end(share, expected):
    layer = nn.Linear(1, 1, bias=False)
    initial = {"weight": torch.full((1, 1), 1.0)}
    nn.init.constant_(layer.weight, 3.0)
    interpolate(layer, initial, share)
    assert layer.weight.item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "first"),
    [("tf_efficientnet_lite0", "blocks.4"), ("resnet18", "layer4"), ("mobilenet_v3_small", "features.9")],
)
def test_split_body_runs_as_the_whole(name, first):
    body = build_body(find_backbone(name)).module.eval()
    before, after = split_body(body, first)
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(after(before(images)), body(images), atol=1e-4, rtol=1e-3)
    trained = {id(parameter) for parameter in after.parameters()}
    named = {id(parameter) for key, parameter in body.named_parameters() if key.startswith(f"{first}.")}
    assert named <= trained < {id(parameter) for parameter in body.parameters()}


class Noise:
    """Views of images that are drawn, not read."""

    count = 2

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def batch(self, view, rows):
        return self.images[rows] // (view + 1)


@pytest.fixture
def noise():
    return Noise(np.random.default_rng(0).integers(0, 256, (21, 64, 64, 3), dtype=np.uint8))


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet18", "timm:test_convnext"])
def test_frozen_layers_give_the_same_by_openvino_and_by_torch(name, noise, tmp_path, monkeypatch):
    body = build_body(find_backbone(name))
    normalize, pool = Normalize(body.mean, body.std), nn.Flatten()
    layers = split_body(body.module.eval(), "blocks.4")[0] if name == "tf_efficientnet_lite0" else body.module
    maps, vectors = nn.Sequential(normalize, layers), nn.Sequential(normalize, layers, pool)
    by_torch = [ready_layers(maps, noise, CPU), ready_layers(vectors, noise, CPU)]
    monkeypatch.setattr("lookalike.training.features._WORTH_CONVERTING", 0)
    by_openvino = [ready_layers(maps, noise, CPU), ready_layers(vectors, noise, CPU)]
    assert [isinstance(ready, OpenVINORunner) for ready in by_torch + by_openvino] == [False, False, True, True]
    for form, ready in (("torch", by_torch), ("openvino", by_openvino)):
        store_activations(ready[0], noise, "maps", tmp_path / f"{form}.npy")
    stored = [np.load(tmp_path / f"{form}.npy") for form in ("torch", "openvino")]
    pooled = [compute_features(ready[1], noise, "vectors") for ready in (by_torch, by_openvino)]
    assert stored[0].shape[0] == 42
    assert stored[0].shape[3] == layers(normalize(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))).shape[1]
    assert pooled[0].shape[:2] == (2, 21)
    for one, other in (stored, pooled):
        assert relative_difference(np.asarray(one, np.float32), np.asarray(other, np.float32)) < CONVERSION_TOLERANCE


def test_stored_activations_are_read_as_they_were_written(noise, tmp_path):
    first, second = nn.Conv2d(3, 5, 3).eval(), nn.Conv2d(5, 4, 3).eval()
    as_floats = Noise(noise.images.astype(np.float32))
    stored = store_activations(ready_layers(first, as_floats, CPU), as_floats, "maps", tmp_path / "maps.npy")
    found = compute_features(ready_layers(second, stored, CPU), stored, "maps")
    expected = compute_features(ready_layers(nn.Sequential(first, second), as_floats, CPU), as_floats, "both")
    assert torch.allclose(found, expected, rtol=1e-2, atol=1e-2 * float(expected.abs().max()))


def test_frozen_layers_that_cannot_be_converted_are_run_by_torch(noise, monkeypatch, caplog):
    class Moody(nn.Module):
        def forward(self, images):
            return torch.linalg.matrix_exp(images.float().mean(dim=(2, 3))[:, None] * torch.eye(3))

    monkeypatch.setattr("lookalike.training.features._WORTH_CONVERTING", 0)
    assert compute_features(ready_layers(Moody(), noise, CPU), noise, "features").shape == (2, 21, 3, 3)
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "OpenVINO cannot run the frozen layers, so that torch does, more slowly"
    ]


def test_few_images_pay_for_no_conversion(noise):
    layers = nn.Conv2d(3, 3, 1).eval()
    many = Noise(np.zeros((500, 2, 2, 3), np.float32))
    assert not isinstance(ready_layers(layers, noise, CPU), OpenVINORunner)
    assert isinstance(ready_layers(layers, many, CPU), OpenVINORunner)


def test_split_body_of_a_network_that_is_no_row_raises():
    body = build_body(find_backbone("timm:test_vit")).module
    with pytest.raises(ConfigError, match=r"training\.first_trained_layer"):
        split_body(body, "blocks.1")


def test_parameter_groups_hold_every_parameter_once():
    model = nn.Sequential(build_body(find_backbone("resnet18")).module, Head(512, 8, 3))
    groups = parameter_groups(model)
    together = [id(parameter) for group in groups for parameter in group]
    assert sorted(together) == sorted(id(parameter) for parameter in model.parameters())


def test_replicas_give_the_gradients_of_one_model():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    inputs, labels = torch.randn(17, 5), torch.randint(3, (17,))
    expected_loss = loss(model(inputs), labels)
    expected_loss.backward()
    expected = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    with replicated(model, loss, 3, "fp32") as replicas:
        found_loss = replicas.backward(inputs, labels)
    assert torch.allclose(found_loss, expected_loss)
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        assert torch.allclose(parameter.grad, gradient, atol=1e-6)


def test_replicas_restore_the_number_of_threads():
    before = torch.get_num_threads()
    with replicated(nn.Linear(2, 2), nn.CrossEntropyLoss(), 2, "fp32") as replicas:
        replicas.backward(torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64))
    assert torch.get_num_threads() == before


def test_seeded_dropout_keeps_the_mean_and_repeats():
    dropout = SeededDropout(0.25).train()
    dropout.reseed(3)
    first = dropout(torch.ones(100, 100))
    dropout.reseed(3)
    assert torch.equal(first, dropout(torch.ones(100, 100)))
    assert float(first.mean()) == pytest.approx(1.0, abs=0.03)
    assert torch.equal(dropout.eval()(torch.ones(2, 2)), torch.ones(2, 2))


def test_copies_keep_sharing_parameters_through_a_fit(monkeypatch, images):
    made = []
    original = loop.replicated

    @contextmanager
    def remembering(*arguments):
        with original(*arguments) as replicas:
            yield replicas
            made.append([list(model.parameters()) for model in replicas._models])

    monkeypatch.setattr(loop, "replicated", remembering)
    monkeypatch.setattr(loop, "replica_count", lambda batch_size, device: 2)
    layers, head = nn.Conv2d(3, 4, 3), Head(4, 5, 3)
    before = layers.weight.detach().clone()
    features = torch.rand(1, len(images), 8, 8, 3).numpy()
    train = FeatureBatches(features, images.labels, 8, shuffle_seed=0)
    config = tiny_training_config(unfrozen_epochs=2)
    loop.train_network(layers, head, train, train, config)
    ((own, copies),) = made
    assert not torch.equal(layers.weight, before)
    assert [mine.data_ptr() for mine in own] == [theirs.data_ptr() for theirs in copies]
    assert {parameter.data_ptr() for parameter in [*layers.parameters(), *head.parameters()]} == {
        mine.data_ptr() for mine in own
    }
