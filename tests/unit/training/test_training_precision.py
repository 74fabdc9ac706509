import logging
import re
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lookalike.network.head import Head
from lookalike.network.model_folder import load_model
from lookalike.stages.fine_tune import fine_tune
from lookalike.training import loop, precision
from lookalike.training.precision import PrecisionChoice, choose_precision, faster_precision
from lookalike.training.replicas import replicated
from tests.tiny_model import tiny_training_config

STEPS = {"unfrozen_epochs": 2, "final_head_epochs": 1, "batch_size": 8, "pretrained_components": 4}
ON_IMAGES = STEPS | {"augmentation": "moderate"}
ON_ACTIVATIONS = STEPS | {"first_trained_layer": "blocks.2", "augmentation": "flip"}


@pytest.fixture
def auto(monkeypatch):
    """Makes `auto` choose a precision, whatever this machine is like and whatever it measures."""

    def choose(chosen: str) -> None:
        monkeypatch.setattr(precision, "bf16_may_pay", lambda device: True)
        monkeypatch.setattr(precision, "_MIN_SPEEDUP", float("inf") if chosen == "fp32" else 0.0)

    return choose


def trained(dataset_folder, folder, **changes):
    summary = fine_tune(tiny_training_config(**changes), dataset_folder, folder)
    return summary, load_model(folder).network.state_dict(), (folder / "history.csv").read_text().splitlines()


def without_seconds(history):
    return [line.rpartition(",")[0] for line in history]


@pytest.mark.parametrize(
    ("chosen", "steps", "replicas"), [("fp32", ON_IMAGES, 2), ("fp32", ON_ACTIVATIONS, 1), ("bf16", ON_ACTIVATIONS, 2)]
)
def test_measuring_changes_nothing_to_the_last_bit(
    auto, dataset_folder, tmp_path, monkeypatch, caplog, chosen, steps, replicas
):
    monkeypatch.setattr(loop, "replica_count", lambda batch_size, device: replicas)
    auto(chosen)
    with caplog.at_level(logging.INFO, "lookalike"):
        measured, tensors, history = trained(dataset_folder, tmp_path / "auto", precision="auto", **steps)
    other = "bf16" if chosen == "fp32" else "fp32"
    line = re.compile(rf"training precision: {chosen} \(\S+ s per step; {other} \S+ s\)")
    assert any(line.fullmatch(message) for message in caplog.messages), caplog.messages
    named, expected, expected_history = trained(dataset_folder, tmp_path / "named", precision=chosen, **steps)
    assert measured.precision == named.precision == chosen
    assert sorted(measured.step_seconds) == ["bf16", "fp32"]
    assert named.step_seconds == {}
    assert without_seconds(history) == without_seconds(expected_history)
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)


@pytest.mark.parametrize("name", ["fp32", "bf16"])
def test_a_named_precision_is_not_measured(monkeypatch, name):
    monkeypatch.setattr(precision, "_time_steps", lambda *arguments, **options: pytest.fail("measured"))
    assert choose_precision(name, SimpleNamespace(), 2, 1000) == PrecisionChoice(name)


@pytest.mark.draws
def test_a_machine_that_emulates_bf16_does_not_measure_it(monkeypatch, caplog):
    monkeypatch.setattr(precision, "_time_steps", lambda *arguments, **options: pytest.fail("measured"))
    monkeypatch.setattr(precision, "bf16_may_pay", lambda device: False)
    with caplog.at_level(logging.INFO, "lookalike"):
        assert choose_precision("auto", SimpleNamespace(model=nn.Linear(1, 1)), 2, 1000) == PrecisionChoice("fp32")
    assert caplog.messages == ["training precision: fp32 (this machine has no fast bf16)"]


def test_without_unfrozen_epochs_nothing_is_measured(dataset_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "choose_precision", lambda *arguments: pytest.fail("measured"))
    summary = fine_tune(tiny_training_config(precision="auto"), dataset_folder, tmp_path)
    assert (summary.precision, summary.step_seconds) == ("fp32", {})


@pytest.mark.parametrize(
    ("fp32_seconds", "bf16_seconds", "chosen"),
    [(0.42, 0.61, "fp32"), (0.42, 0.42, "fp32"), (0.42, 0.40, "fp32"), (0.42, 0.30, "bf16"), (0.42, 0.1, "bf16")],
)
def test_bf16_has_to_be_clearly_faster(fp32_seconds, bf16_seconds, chosen):
    used, other = faster_precision(fp32_seconds, bf16_seconds)
    assert used == chosen
    assert {used, other} == {"fp32", "bf16"}


@pytest.mark.parametrize(("turns", "longest", "steps"), [(0, 9, 4), (1, 9, 4), (3, 9, 8), (100, 9, 12), (100, 0, 4)])
def test_measuring_ends(monkeypatch, turns, longest, steps):
    monkeypatch.setattr(precision, "_LONGEST_SECONDS", longest)
    made = []

    def step(name):
        made.append(name)
        return 0.5 - 0.01 * len(made)

    seconds = precision._fastest(step, turns)
    assert made == ["fp32", "bf16"] * (steps // 2)
    assert seconds == {"fp32": pytest.approx(0.5 - 0.01 * (steps - 1)), "bf16": pytest.approx(0.5 - 0.01 * steps)}


class Spy(nn.Module):
    """A layer that notes the type of what it computes."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.types = []

    def __deepcopy__(self, memo):
        other = Spy()
        other.types = self.types
        return other

    def forward(self, inputs):
        outputs = self.linear(inputs)
        self.types.append(outputs.dtype)
        return outputs


@pytest.mark.draws
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("name", ["fp32", "bf16"])
@pytest.mark.parametrize("outside", [True, False])
def test_replicas_compute_in_their_precision_and_leave_no_other(count, name, outside):
    model = Spy()
    inputs, labels = torch.randn(8, 4), torch.zeros(8, dtype=torch.int64)
    with (
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=outside),
        replicated(model, nn.CrossEntropyLoss(), count, name) as replicas,
    ):
        loss, scores = replicas.backward(inputs, labels), replicas.predict(inputs)
        assert torch.is_autocast_enabled("cpu") is outside
    assert set(model.types) == {torch.bfloat16 if name == "bf16" else torch.float32}
    assert len(model.types) == 2 * count
    assert {loss.dtype, scores.dtype, model.linear.weight.grad.dtype} == {torch.float32}


def test_what_the_caller_has_set_changes_nothing(dataset_folder, tmp_path):
    expected = trained(dataset_folder, tmp_path / "plain", **STEPS)[1]
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
        fine_tune(tiny_training_config(**STEPS), dataset_folder, tmp_path / "inside")
    found = load_model(tmp_path / "inside").network.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_only_learning_layers_compute_in_bf16(dataset_folder, tmp_path, monkeypatch):
    """Heads on stored features, and the evaluation, which comes last, are computed in fp32."""
    types = {"on features": [], "anywhere": []}
    classify, forward = Head.classify, loop.HeadOnFeatures.forward

    def noting(kind, function):
        def wrapped(*arguments):
            scores = function(*arguments)
            types[kind].append(scores.dtype)
            return scores

        return wrapped

    monkeypatch.setattr(Head, "classify", noting("anywhere", classify))
    monkeypatch.setattr(loop.HeadOnFeatures, "forward", noting("on features", forward))
    fine_tune(tiny_training_config(precision="bf16", **STEPS), dataset_folder, tmp_path)
    assert set(types["anywhere"]) == {torch.float32, torch.bfloat16}
    assert set(types["on features"]) == {torch.float32}
    assert types["anywhere"][-1] == torch.float32
