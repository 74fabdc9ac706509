import json
import shutil
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from lookalike.errors import ModelError
from lookalike.files import sha256_of_file
from lookalike.network.backbones import Backbone
from lookalike.network.description import check_fp32
from lookalike.network.model_folder import HeadShape, load_model, save_model
from lookalike.training import fine_tune
from tests.tiny_model import tiny_training_config

OTHERS = {torch.bfloat16: "BF16", torch.float16: "F16", torch.float64: "F64", torch.float8_e4m3fn: "F8_E4M3"}
ALLOWED = [torch.float32, torch.int64, torch.int32, torch.uint8, torch.bool]


@pytest.fixture(scope="module")
def model_folder(dataset_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    fine_tune(tiny_training_config(), dataset_folder, folder)
    return folder


def change_tensor(folder: Path, name: str, dtype: torch.dtype) -> None:
    """Store one tensor in another type, and the digest that the file then has."""
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {name: tensors[name].to(dtype)}, folder / "model.safetensors")
    description = json.loads((folder / "model.json").read_text())
    description["weights_sha256"] = sha256_of_file(folder / "model.safetensors")
    (folder / "model.json").write_text(json.dumps(description))


@pytest.mark.parametrize("dtype", OTHERS, ids=str)
@pytest.mark.parametrize("name", ["head.linear.weight", "head.norm.running_var"])
def test_a_model_that_is_not_fp32_is_not_loaded(model_folder, tmp_path, name, dtype):
    folder = shutil.copytree(model_folder, tmp_path / "model")
    change_tensor(folder, name, dtype)
    with pytest.raises(ModelError, match=rf"model\.safetensors: the tensor {name} is {OTHERS[dtype]}, expected F32"):
        load_model(folder)


@pytest.mark.parametrize("dtype", OTHERS, ids=str)
@pytest.mark.parametrize("layer", ["head.linear", "body.conv_stem"])
def test_a_model_that_is_not_fp32_is_not_saved(model_folder, tmp_path, layer, dtype):
    stored = load_model(model_folder)
    module = stored.network.get_submodule(layer)
    module.weight = torch.nn.Parameter(module.weight.to(dtype), requires_grad=False)
    with pytest.raises(ModelError, match=rf"model\.safetensors: the tensor {layer}\.weight is {OTHERS[dtype]}"):
        save_model(
            tmp_path,
            stored.network,
            backbone=Backbone("timm", "test_efficientnet"),
            head=HeadShape(**stored.description["head"]),
            preprocessing=stored.preprocessing,
            facts={},
        )
    assert list(tmp_path.iterdir()) == []


@given(
    st.dictionaries(
        st.text("abc.", min_size=1, max_size=8), st.sampled_from([*ALLOWED, *OTHERS]), min_size=1, max_size=6
    )
)
def test_all_real_numbers_are_fp32_or_one_that_is_not_is_named(types):
    wrong = {name: OTHERS[dtype] for name, dtype in types.items() if dtype in OTHERS}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tensors"
        save_file({name: torch.zeros(2, dtype=dtype) for name, dtype in types.items()}, path)
        if not wrong:
            check_fp32(path, Path("shown"))
            return
        with pytest.raises(ModelError) as caught:
            check_fp32(path, Path("shown"))
    assert any(f"shown: the tensor {name} is {kind}," in str(caught.value) for name, kind in wrong.items())
