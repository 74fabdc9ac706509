import numpy as np
import pytest
import torch
from torch import nn

from lookalike.network.backbones import build_body, find_backbone
from lookalike.network.graph import export_graph
from lookalike.network.numpy_graph import NumpyBody, NumpyUnsupportedError, convolution


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet34", "timm:resnet18"])
def test_numpy_computes_what_torch_computes(name):
    torch.manual_seed(0)
    body = build_body(find_backbone(name)).module.eval()
    for layer in body.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 2.0)
    graph, tensors = export_graph(body, (3, 64, 64))
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected = body(image)[0].permute(1, 2, 0).numpy()
    light = NumpyBody(graph, {key: tensor.numpy() for key, tensor in tensors.items()})
    found = light(image[0].permute(1, 2, 0).numpy())
    assert found.dtype == np.float32
    assert np.allclose(found, expected, rtol=1e-3, atol=1e-4 * float(np.abs(expected).max()))


@pytest.mark.parametrize("groups", [1, 6])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_convolution_is_that_of_torch(kernel, stride, groups):
    rng = np.random.default_rng(0)
    image = rng.normal(size=(11, 8, 6)).astype(np.float32)
    weight = rng.normal(size=(6, 6 // groups, kernel, kernel)).astype(np.float32)
    bias = rng.normal(size=6).astype(np.float32)
    padding = kernel // 2
    expected = nn.functional.conv2d(
        torch.from_numpy(image).permute(2, 0, 1)[None],
        torch.from_numpy(weight),
        torch.from_numpy(bias),
        stride=stride,
        padding=padding,
        groups=groups,
    )
    found = convolution(image, weight, bias, [stride] * 2, [padding] * 2, [1, 1], groups)
    assert np.allclose(found, expected[0].permute(1, 2, 0).numpy(), atol=1e-4)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "timm:test_convnext", "resnext50_32x4d"])
def test_other_operations_are_refused(name):
    graph, tensors = export_graph(build_body(find_backbone(name)).module.eval(), (3, 64, 64))
    with pytest.raises(NumpyUnsupportedError):
        NumpyBody(graph, {key: tensor.numpy() for key, tensor in tensors.items()})
