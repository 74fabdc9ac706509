"""`model.json` and `model.safetensors` as files, read without torch."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError, safe_open

from lookalike.errors import ModelError
from lookalike.files import digest_of, read_document, sha256_of_file, write_json_atomic

FORMAT_VERSION = 3
WEIGHTS_NAME = "model.safetensors"
DESCRIPTION_NAME = "model.json"
# The backbone in the description of a collection of vectors, which needs no network.
NO_NETWORK = "none"
Tensors = TypeVar("Tensors")


def fingerprint(description: Mapping[str, Any], layer: str) -> str:
    """Return the digest of what decides an embedding: the tensors, the preprocessing and the hooked layer.

    The precision is no part of it: bf16 and fp32 embeddings of one model may be compared.
    """
    return digest_of(
        {
            "format_version": FORMAT_VERSION,
            "weights_sha256": description["weights_sha256"],
            "preprocessing": description["preprocessing"],
            "layer": layer,
        }
    )


def read_description(folder: Path) -> dict[str, Any]:
    """Return `model.json` of a model folder; ModelError if it is missing, damaged or of another format."""
    needs = {"backbone": str, "head": dict, "preprocessing": dict, "classes": list, "weights_sha256": str}
    return read_document(folder / DESCRIPTION_NAME, ModelError, needs, version=FORMAT_VERSION)


def write_no_model(folder: Path) -> None:
    """Write a `model.json` that says that there is no network."""
    nothing: dict[str, Any] = {"head": {}, "preprocessing": {}, "classes": [], "weights_sha256": "", "accuracy": None}
    write_json_atomic(folder / DESCRIPTION_NAME, {"format_version": FORMAT_VERSION, "backbone": NO_NETWORK, **nothing})


def read_tensors(folder: Path, description: Mapping[str, Any], load: Callable[[Path], Tensors]) -> Tensors:
    """Return what `load` makes of the folder's tensors; ModelError if they are missing, damaged, others or not fp32."""
    path = folder / WEIGHTS_NAME
    try:
        digest = sha256_of_file(path)
    except OSError as cause:
        raise ModelError(f"cannot read {path}: {cause.strerror or cause}; train the model again") from cause
    if digest != description.get("weights_sha256"):
        raise ModelError(f"{path} does not have the digest that {DESCRIPTION_NAME} states; train the model again")
    try:
        check_fp32(path, path)
        return load(path)
    except SafetensorError as cause:
        raise ModelError(f"{path} is no readable safetensors file ({cause}); train the model again") from cause


def check_fp32(path: Path, shown: Path) -> None:
    """Raise ModelError if a tensor of a safetensors file holds real numbers that are not fp32; the error says `shown`.

    Weights of fewer digits would go unnoticed otherwise: every part of the network computes with them, only worse.
    """
    with safe_open(path, framework="numpy") as tensors:
        for name in tensors.keys():  # noqa: SIM118 (it is no mapping)
            kind = tensors.get_slice(name).get_dtype()
            if kind.startswith(("F", "BF")) and kind != "F32":
                raise ModelError(f"{shown}: the tensor {name} is {kind}, expected F32 (fp32); train the model again")
