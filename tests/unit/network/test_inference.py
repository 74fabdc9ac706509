import builtins
import errno
import logging
import os
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lookalike.embedding.hook import HookedNetwork
from lookalike.errors import ModelError, describe_system_error
from lookalike.network import inference
from lookalike.network.backbones import build_body, find_backbone
from lookalike.network.embedding_network import EmbeddingNetwork
from lookalike.network.head import Head, feature_layout
from lookalike.network.inference import (
    CONVERSION_TOLERANCE,
    OpenVINORunner,
    UnsupportedNetworkError,
    convert,
    load_graph,
    relative_difference,
    save_graph,
)
from lookalike.network.preprocessing import Preprocessing


def make_network(name, side=64):
    """An untrained network whose BatchNorms do something."""
    torch.manual_seed(0)
    body = build_body(find_backbone(name))
    module = body.module.eval()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 2.0)
    shape = tuple(module(torch.zeros(1, 3, side, side)).shape)
    features = getattr(module, "num_features", None)
    features = features if features in shape else shape[1]
    head = Head(features, 12, 3, pretrained_components=4, layout=feature_layout(shape, features), classifier="cosine")
    head.embedding.projection.normal_()
    return EmbeddingNetwork(Preprocessing(side, "squish", body.mean, body.std), module, head)


def noise(count, side=64, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def converted(network, side=64):
    return convert(network, torch.from_numpy(noise(3, side)))


@pytest.fixture(scope="module")
def embedding():
    return HookedNetwork(make_network("timm:test_efficientnet"), "head.embedding")


@pytest.fixture(scope="module")
def graph(embedding):
    return converted(embedding)


@pytest.mark.parametrize(
    ("name", "side", "layers"),
    [
        ("tf_efficientnet_lite0", 64, ["head.embedding", "body.blocks.1"]),
        ("resnet18", 64, ["body.layer1.0.relu", "body.layer1.0.bn1"]),
        ("mobilenet_v3_small", 64, ["head.pool"]),
        ("timm:test_convnext", 64, ["head.norm2"]),
        ("timm:test_vit", 160, ["head.classifier", "body.blocks.1"]),
    ],
)
def test_converted_network_gives_what_the_hook_gives(name, side, layers):
    network = make_network(name, side)
    for layer in layers:
        reference = HookedNetwork(network, layer)
        run = OpenVINORunner(converted(reference, side), "fp32", many=True)
        for count in (1, 2, 5):
            images = noise(count, side, seed=count)
            with torch.no_grad():
                expected = reference(torch.from_numpy(images)).numpy()
            found = run(images)
            assert found.dtype == np.float32
            assert found.shape == expected.shape
            assert relative_difference(expected, found) < CONVERSION_TOLERANCE, layer


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 2e-2)])
def test_an_image_has_one_vector_whatever_stands_beside_it(graph, precision, tolerance):
    images = noise(12)
    alone, together = (OpenVINORunner(graph, precision, many=many) for many in (False, True))
    expected = np.concatenate([alone(images[i : i + 1]) for i in range(len(images))])

    @given(st.integers(0, 11), st.integers(1, 12))
    def agrees(start, count):
        found = together(images[start : start + count])
        assert relative_difference(expected[start : start + count], found) < tolerance

    agrees()


def test_threads_do_not_disturb_each_other(graph):
    run = OpenVINORunner(graph, "fp32", many=True)
    batches = [noise(2, seed=seed) for seed in range(40)]
    expected = [run(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        for one, other in zip(pool.map(run, batches), expected, strict=True):
            assert np.array_equal(one, other)


def test_a_result_is_kept_when_the_next_is_computed(graph):
    run = OpenVINORunner(graph, "fp32", many=False)
    first = run(noise(1))
    copy = first.copy()
    run(noise(1, seed=1))
    assert np.array_equal(first, copy)


def test_forced_bf16_says_what_it_computes_in(graph):
    run = OpenVINORunner(graph, "bf16", many=True)
    assert run.precision in {"fp32", "bf16"}
    difference = relative_difference(OpenVINORunner(graph, "fp32", many=True)(noise(3)), run(noise(3)))
    # fp32 where the processor has no bf16 and does not emulate it.
    assert (difference > 1e-4) == (run.precision == "bf16")
    assert run(noise(3)).dtype == np.float32


def test_stored_graph_is_in_fp32_and_the_same_bytes_whatever_was_converted_before(embedding, graph, tmp_path):
    (tmp_path / "again").mkdir()
    first = save_graph(graph, tmp_path)
    converted(HookedNetwork(make_network("timm:test_convnext"), "head.pool"))
    assert save_graph(converted(embedding), tmp_path / "again") == first
    assert str(tmp_path).encode() not in (tmp_path / "network.xml").read_bytes()
    stored = load_graph(tmp_path, first)
    assert {str(c.get_element_type()) for c in stored.get_ops() if c.get_type_name() == "Constant"}.isdisjoint(
        {"<Type: 'float16'>", "<Type: 'bfloat16'>"}
    )
    images = noise(3)
    whole, read = (OpenVINORunner(some, "fp32", many=False)(images) for some in (graph, stored))
    assert np.array_equal(whole, read)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "network.bin", "network.xml"]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are listed by Linux alone")
def test_loaded_network_keeps_no_file_open(graph, tmp_path):
    run = OpenVINORunner(load_graph(tmp_path, save_graph(graph, tmp_path)), "fp32", many=False)
    run(noise(1))
    opened = {os.path.realpath(path) for path in Path("/proc/self/fd").iterdir()}
    assert not [path for path in opened if path.startswith(str(tmp_path))]


def test_graph_whose_digest_is_another_is_refused(graph, tmp_path):
    digests = save_graph(graph, tmp_path)
    with pytest.raises(ModelError, match=r"network\.bin was altered"):
        load_graph(tmp_path, digests | {"network.bin": "0" * 64})


def test_full_disk_is_named_as_such(graph, tmp_path, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("basic_ios::clear: iostream error")

    monkeypatch.setattr(inference.openvino, "serialize", fail)
    with pytest.raises(OSError, match="No space left") as caught:
        save_graph(graph, tmp_path)
    assert caught.value.errno == errno.ENOSPC
    assert "make room" in describe_system_error(caught.value)
    assert list(tmp_path.iterdir()) == []


class DependsOnData(nn.Module):
    def forward(self, images):
        images = images.float()
        return images.mean(dim=(1, 2)) * (1 if images[0].mean() > 100 else -1)


class ForeignOperation(nn.Module):
    def forward(self, images):
        return torch.linalg.matrix_exp(images.float()[..., :1, :1, 0] / 255)[..., 0]


@pytest.mark.parametrize("network", [DependsOnData(), ForeignOperation()])
def test_network_that_cannot_be_expressed_is_refused_and_leaves_no_trace(network):
    images = torch.from_numpy(np.concatenate([noise(2) // 3, noise(1)]))
    example = torch.flip(images, [0]) if isinstance(network, DependsOnData) else images
    before = state()
    with pytest.raises(UnsupportedNetworkError) as caught:
        convert(BrighterAlone(network) if isinstance(network, DependsOnData) else network, example)
    assert "\n" not in str(caught.value)
    assert state() == before


class BrighterAlone(nn.Module):
    """Takes another way for three images than for two, as a trace cannot."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        return self.network(images) if len(images) == 2 else -self.network(images)


def state():
    root = logging.getLogger()
    return (
        root.level, root.filters[:], root.handlers[:], warnings.filters[:], dict(os.environ), builtins.divmod,
        torch.get_num_threads(), torch.is_grad_enabled(), torch.get_default_dtype(), torch.is_inference_mode_enabled(),
    )  # fmt: skip


def test_conversion_changes_neither_the_process_nor_the_network(embedding):
    attributes = {name: set(vars(module)) for name, module in embedding.named_modules()}
    tensors = {name: tensor.clone() for name, tensor in embedding.state_dict().items()}
    hooks = [len(module._forward_hooks) for module in embedding.modules()]
    before = state()
    converted(embedding)
    assert state() == before
    assert {name: set(vars(module)) for name, module in embedding.named_modules()} == attributes
    assert [len(module._forward_hooks) for module in embedding.modules()] == hooks
    assert all(torch.equal(tensors[name], tensor) for name, tensor in embedding.state_dict().items())


SILENT = """
import socket, sys, threading
def refuse(*arguments, **options):
    raise SystemExit("a connection was tried")
socket.socket.connect = socket.getaddrinfo = refuse
import torch
from lookalike.network.inference import convert, save_graph, OpenVINORunner
from pathlib import Path
network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3)).eval()
example = torch.ones(3, 2, 2, 3)
graph = convert(network, example)
save_graph(graph, Path(sys.argv[1]))
OpenVINORunner(graph, "bf16", many=True)(example.numpy())
assert "openvino_telemetry.main" not in sys.modules
assert threading.active_count() == 1, threading.enumerate()
"""


def test_openvino_reports_to_nobody_and_leaves_nothing_at_home(tmp_path):
    home, output = tmp_path / "home", tmp_path / "output"
    home.mkdir()
    output.mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in {"CI", "TF_BUILD", "JENKINS_URL"}}
    done = subprocess.run(
        [sys.executable, "-c", SILENT, str(output)],
        env={**environment, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(home.iterdir()) == []
