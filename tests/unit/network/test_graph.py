import json

import pytest
import torch
from torch import nn

from lookalike.errors import ModelError
from lookalike.network.backbones import build_body, find_backbone
from lookalike.network.fused import fold_padding
from lookalike.network.graph import GraphBody, UnsupportedGraphError, export_graph
from lookalike.network.graph_nodes import FUSED_CONVOLUTION, fold_batch_norms, fuse_convolutions


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
    graph, tensors = export_graph(body, (3, 64, 64))
    rebuilt = GraphBody(json.loads(json.dumps(graph)), tensors)
    images = torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        expected, found = body(images), rebuilt(images)
        assert found.shape == expected.shape
        assert torch.allclose(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
        rebuilt.fuse(images[:2])
        assert torch.allclose(rebuilt(images), found, atol=1e-4 * float(expected.abs().max()))


def fused_nodes(body, size=32):
    graph, tensors = export_graph(body.eval(), (3, size, size))
    nodes, _ = fold_batch_norms(graph["nodes"], tensors)
    return fuse_convolutions(nodes, graph["output"])


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet18"])
def test_sums_and_activations_disappear_into_convolutions(name):
    operations = {node["op"] for node in fused_nodes(build_body(find_backbone(name)).module, 64)}
    assert FUSED_CONVOLUTION in operations
    assert not [
        operation for operation in operations if "relu" in operation or "add" in operation or "tanh" in operation
    ]


class Branching(nn.Module):
    """A convolution in `order` with a sum, an activation and other uses of its output."""

    def __init__(self, order):
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 3, padding=1)
        self.order = order

    def forward(self, images):
        found = self.convolution(images)
        return {
            "plain": lambda: found,
            "sum": lambda: images + found,
            "sum in place": lambda: found.add_(images),
            "other changed in place": lambda: (torch.relu(images) * 1.0).add_(self.convolution(found)),
            "sum of convolutions in place": lambda: found.add_(self.convolution(images)),
            "sum, activation": lambda: torch.relu(found + images),
            "activation, sum": lambda: torch.relu(found) + images,
            "default limits": lambda: nn.functional.hardtanh(found),
            "two activations": lambda: torch.relu(nn.functional.hardtanh(found, -0.1, 0.2)),
            "twice its own": lambda: found + found,
            "scaled sum": lambda: torch.add(found, images, alpha=2),
            "sum with a number": lambda: found + 1.0,
            "sum with a row": lambda: found + images[:, :, :1],
            "used again": lambda: torch.relu(found) * found,
            "sum used again": lambda: (lambda summed: torch.relu(summed) - summed)(found + images),
        }[self.order]()


BRANCHES = {
    "plain": 1,
    "sum": 1,
    "sum in place": 1,
    "other changed in place": 5,
    "sum of convolutions in place": 2,
    "sum, activation": 1,
    "activation, sum": 2,
    "default limits": 1,
    "two activations": 2,
    "twice its own": 2,
    "scaled sum": 2,
    "sum with a number": 2,
    "used again": 3,
    "sum used again": 3,
}


@pytest.mark.parametrize(("order", "steps"), BRANCHES.items())
def test_fusing_changes_no_feature(order, steps):
    body = Branching(order).eval()
    assert len(fused_nodes(body)) == steps
    graph, tensors = export_graph(body, (3, 32, 32))
    rebuilt = GraphBody(graph, tensors)
    images = torch.randn(4, 3, 32, 32).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        assert rebuilt.fuse(images[:2])
        torch.testing.assert_close(rebuilt(images), body(images.clone()), atol=1e-5, rtol=1e-5)


class Padding(nn.Module):
    def __init__(self, sizes, kernel, stride, *, groups=6, value=0.0, mode="constant", dilation=1, padding=0):
        super().__init__()
        self.convolution = nn.Conv2d(6, 6, kernel, stride=stride, groups=groups, dilation=dilation, padding=padding)
        self.options = {"pad": sizes, "mode": mode, **({"value": value} if mode == "constant" else {})}

    def forward(self, images):
        return torch.relu(self.convolution(nn.functional.pad(torch.cat([images, images], 1), **self.options)))


@pytest.mark.parametrize("size", [31, 32])
@pytest.mark.parametrize(
    ("body", "folds"),
    [
        (Padding((0, 1, 0, 1), 3, 2), True),
        (Padding((1, 2, 1, 2), 5, 2), True),
        (Padding((1, 1, 0, 2), 3, 1), True),
        (Padding((0, 3, 1, 1), (3, 5), 1), True),
        (Padding((1, 0, 1, 0), 3, 2), False),
        (Padding((0, 1, 0, 1), 3, 2, groups=1), False),
        (Padding((0, 1, 0, 1), 3, 2, value=1.0), False),
        (Padding((0, 1, 0, 1), 3, 2, mode="reflect"), False),
        (Padding((0, 1, 0, 1), 3, 2, dilation=2), False),
        (Padding((0, 1, 0, 1), 3, 2, padding=1), False),
        (Padding((-1, 1, 0, 1), 3, 2), False),
    ],
)
def test_padding_becomes_part_of_depthwise_convolutions(body, folds, size):
    nodes = fused_nodes(body, size)
    graph, tensors = export_graph(body.eval(), (3, size, size))
    folded, _ = fold_padding(nodes, tensors)
    assert len(folded) == len(nodes) - folds
    rebuilt = GraphBody(graph, tensors)
    images = torch.randn(2, 3, size, size)
    with torch.inference_mode():
        assert rebuilt.fuse(images)
        torch.testing.assert_close(rebuilt(images), body(images), atol=1e-5, rtol=1e-5)


def test_sum_of_another_shape_is_right_fused_or_not():
    body = Branching("sum with a row").eval()
    graph, tensors = export_graph(body, (3, 32, 32))
    rebuilt = GraphBody(graph, tensors)
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        rebuilt.fuse(images)
        torch.testing.assert_close(rebuilt(images), body(images), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("fault", ["missing", "raises", "wrong"])
def test_body_stays_as_it_was_where_fusing_does_not_work(monkeypatch, fault):
    class Faulty:
        def __call__(self, *arguments):
            if fault == "missing":
                return torch.ops.mkldnn.no_such_operator(*arguments)
            if fault == "raises":
                raise RuntimeError("this processor cannot")
            return torch.zeros(2, 3, 32, 32)

    graph, tensors = export_graph(Branching("sum").eval(), (3, 32, 32))
    body = GraphBody(graph, tensors)
    images = torch.randn(2, 3, 32, 32)
    monkeypatch.setattr("lookalike.network.graph.FusedConvolution", Faulty)
    with torch.inference_mode():
        expected = body(images)
        assert not body.fuse(images)
        assert torch.equal(body(images), expected)


def test_batch_norms_after_convolutions_disappear():
    body = build_body(find_backbone("resnet18")).module.eval()
    graph, tensors = export_graph(body, (3, 64, 64))
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
    graph, tensors = export_graph(body, (3, 32, 32))
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.allclose(GraphBody(graph, tensors)(images), body(images), atol=1e-6)


def test_network_with_data_dependent_flow_is_unsupported():
    class Moody(nn.Module):
        def forward(self, images):
            return images if images.sum() > 0 else -images

    with pytest.raises(UnsupportedGraphError):
        export_graph(Moody(), (3, 32, 32))


@pytest.mark.parametrize("operation", ["os.system", "aten.no_such_thing.default", "aten"])
def test_unknown_operation_raises(operation):
    graph = {"input": "x", "output": "y", "nodes": [{"name": "y", "op": operation, "args": [], "kwargs": {}}]}
    with pytest.raises(ModelError, match="unknown operation"):
        GraphBody(graph, {})
