import json

import pytest
import torch
from torch import nn

from lookalike.errors import ModelError
from lookalike.network.backbones import build_body, find_backbone
from lookalike.network.graph import GraphBody, UnsupportedGraphError, export_graph, fold_batch_norms


def randomize_batch_norms(module):
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 2.0)


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet18", "mobilenet_v3_small", "timm:test_convnext"])
def test_rebuilt_body_computes_the_same(name):
    torch.manual_seed(0)
    body = build_body(find_backbone(name)).module.eval()
    randomize_batch_norms(body)
    graph, tensors = export_graph(body, 64)
    rebuilt = GraphBody(json.loads(json.dumps(graph)), tensors)
    images = torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        expected, found = body(images), rebuilt(images)
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_batch_norms_after_convolutions_disappear():
    body = build_body(find_backbone("resnet18")).module.eval()
    graph, tensors = export_graph(body, 64)
    nodes, _ = fold_batch_norms(graph["nodes"], tensors)
    operations = [node["op"] for node in nodes]
    assert "aten.batch_norm.default" in {node["op"] for node in graph["nodes"]}
    assert "aten.batch_norm.default" not in operations


def test_batch_norm_of_a_convolution_used_twice_stays():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution = nn.Conv2d(3, 4, 1)
            self.norm = nn.BatchNorm2d(4)

        def forward(self, images):
            found = self.convolution(images)
            return self.norm(found) + found

    body = Twice().eval()
    randomize_batch_norms(body)
    graph, tensors = export_graph(body, 32)
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.allclose(GraphBody(graph, tensors)(images), body(images), atol=1e-6)


def test_network_with_data_dependent_flow_is_unsupported():
    class Moody(nn.Module):
        def forward(self, images):
            return images if images.sum() > 0 else -images

    with pytest.raises(UnsupportedGraphError):
        export_graph(Moody(), 32)


@pytest.mark.parametrize("operation", ["os.system", "aten.no_such_thing.default", "aten"])
def test_unknown_operation_raises(operation):
    graph = {"input": "x", "output": "y", "nodes": [{"name": "y", "op": operation, "args": [], "kwargs": {}}]}
    with pytest.raises(ModelError, match="unknown operation"):
        GraphBody(graph, {})
