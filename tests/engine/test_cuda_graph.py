"""Optimizer steps that do not wait for the device, and their CUDA graph; on a CPU with a stand-in for the graph."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import lightning
import pytest
import torch
from checkpoint_diff import difference
from conftest import Compose
from stopping import InterruptingHandler
from torch import Tensor

from lenet_pl.engine import build, cuda_graph, device_step
from lenet_pl.engine.build import build_datamodule, build_task
from lenet_pl.engine.chunked import ChunkedClassifier
from lenet_pl.engine.cuda_graph import WARM_UP, GraphedStep, choose_cuda_graph
from lenet_pl.engine.task import ImageClassifier
from lenet_pl.engine.trainer import build_trainer, silence_lightning_logs
from lenet_pl.errors import DivergenceError, SettingError
from lenet_pl.runtime.signals import Interruption, SignalHandler
from lenet_pl.settings import TrainSettings

# 5 batches of 36 images and one of 12 in each epoch
RUN = (
    "callbacks.progress_bar=false", "callbacks.model_summary=false", "trainer.accelerator=cpu", "trainer.num_threads=1",
    "data=fake", "model=lenet_bn", "logger=none", "loader.batch_size=36", "trainer.max_epochs=2",
)  # fmt: skip
FULL, EPOCHS = 5, 2
Work = Callable[[], tuple[Tensor, Tensor]]


class Graph:
    """`CudaGraph` for a CPU: a capture changes no tensor, and a replay uses the hyperparameters of the capture."""

    made: ClassVar[list["Graph"]] = []
    fails = False

    def __init__(self, device: torch.device) -> None:
        self.warmed = self.captured = self.replayed = 0
        Graph.made.append(self)

    def warm_up(self, work: Work) -> tuple[Tensor, Tensor]:
        self.warmed += 1
        return work()

    def capture(self, work: Work) -> tuple[Tensor, Tensor]:
        self.captured += 1
        step = next(c.cell_contents for c in work.__closure__ or () if isinstance(c.cell_contents, GraphedStep)).step
        optimizer = step.optimizer
        tensors = [*step.task.state_dict().values(), step._trace, step._found_inf]
        tensors += [value for state in optimizer.state.values() for value in state.values()]
        before = [tensor.clone() for tensor in tensors]
        self.groups = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
        if Graph.fails:
            raise RuntimeError("no such kernel\nsecond line")
        with torch.random.fork_rng([]):
            self.outputs = work()
        for tensor, value in zip(tensors, before, strict=True):
            tensor.copy_(value)
        self.work, self.optimizer = work, optimizer
        self.gradients = [(p, p.grad) for p in step.task.model.parameters() if p.grad is not None]
        return self.outputs

    def replay(self) -> None:
        self.replayed += 1
        groups = self.optimizer.param_groups
        present = [group.copy() for group in groups]
        for group, captured in zip(groups, self.groups, strict=True):
            group.update(captured | {"lr": float("nan")})
        for output, value in zip(self.outputs, self.work(), strict=True):
            output.copy_(value)
        for parameter, gradient in self.gradients:
            gradient.copy_(parameter.grad)
            parameter.grad = None  # a graph does not know the attribute
        for group, before in zip(groups, present, strict=True):
            group.update(before)


@pytest.fixture(autouse=True)
def _on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    silence_lightning_logs()
    monkeypatch.setattr(device_step, "DEVICES", ("cuda", "cpu"))
    monkeypatch.setattr(cuda_graph, "CudaGraph", Graph)
    monkeypatch.setattr(Graph, "made", [])


def fit(
    settings: TrainSettings, folder: Path, mode: Any, signals: SignalHandler | None = None, resume: Path | None = None
) -> tuple[Any, ImageClassifier]:
    """Train, and return what must be equal: the counters, the weights, the optimizer, the losses of all steps."""
    folder.mkdir(exist_ok=True)
    lightning.seed_everything(settings.seed, verbose=False)
    data = build_datamodule(settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "choose_cuda_graph", lambda *_: mode)
        task = build_task(settings, data, signals)
    trainer = build_trainer(settings, folder, signals=signals)
    trainer.fit(task, data, ckpt_path=resume, weights_only=True if resume else None)
    history: Any = next(c for c in trainer.callbacks if type(c).__name__ == "MetricsHistory")
    rows = [{k: v for k, v in row.items() if k not in ("seconds", "images/s")} for row in history.epochs]
    state = trainer.global_step, task.state_dict(), trainer.optimizers[0].state_dict(), history.step_losses, rows
    return state, task


@pytest.mark.parametrize(
    "overrides",
    [
        ("callbacks.ema.decay=0.9", "trainer.gradient_clip_val=0.5", "scheduler=cosine", "augment=affine"),
        (
            "optimizer=sgd",
            "trainer.gradient_clip_val=0.01",
            "trainer.gradient_clip_algorithm=value",
            "trainer.precision=bf16-mixed",
        ),
        # Betas that change in each step, a learning rate for each layer
        ("optimizer=adamw", "scheduler=onecycle", "scheduler.cycle_momentum=true", "layer_decay=0.5"),
    ],
)
def test_a_graph_has_the_bits_of_steps_one_by_one(overrides: tuple[str, ...], compose: Compose, tmp_path: Path) -> None:
    settings = compose(*RUN, *overrides)
    one_by_one, _ = fit(settings, tmp_path / "steps", False)
    assert Graph.made == []
    in_graph, _ = fit(settings, tmp_path / "graph", True)
    assert difference(one_by_one, in_graph) == []
    (made,) = Graph.made
    assert (made.warmed, made.captured, made.replayed) == (WARM_UP, 1, EPOCHS * FULL - WARM_UP)


def test_images_that_are_mixed_have_the_loss_of_both_labels(
    compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = compose(*RUN, f"optimizer.lr={2**-9}", "augment.mixup=0.5", "augment.cutmix=1", "trainer.max_epochs=1")
    ahead, _ = fit(settings, tmp_path / "ahead", True)  # without a graph, which would not get the other labels
    assert Graph.made[0].captured == 0
    monkeypatch.setattr(device_step, "DEVICES", ("cuda",))
    assert difference(ahead, fit(settings, tmp_path / "waiting", False)[0]) == []


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_steps_without_waiting_have_the_bits_of_the_others(
    optimizer: str, compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = ("callbacks.ema.decay=0.9", "trainer.gradient_clip_val=0.5", "trainer.max_epochs=1")
    settings = compose(*RUN, f"optimizer={optimizer}", f"optimizer.lr={2**-9}", *overrides)  # exact in float32
    ahead, _ = fit(settings, tmp_path / "ahead", False)
    monkeypatch.setattr(device_step, "DEVICES", ("cuda",))
    assert difference(ahead, fit(settings, tmp_path / "waiting", False)[0]) == []


def test_layers_that_are_unfrozen_are_captured_again(compose: Compose, tmp_path: Path) -> None:
    settings = compose(*RUN, "freeze=[features]", "unfreeze_after=1")
    one_by_one, _ = fit(settings, tmp_path / "steps", False)
    assert difference(one_by_one, fit(settings, tmp_path / "graph", True)[0]) == []
    assert (Graph.made[0].captured, Graph.made[0].warmed) == (2, 2 * WARM_UP)


@pytest.mark.parametrize("mode", [False, True])
@pytest.mark.parametrize(
    ("poison", "what"), [("loss", "train/loss: nan"), ("large", "train/loss: inf"), ("gradient", "gradient norm: inf")]
)
def test_what_is_not_finite_changes_no_weight_and_names_its_step(
    poison: str, what: str, mode: bool, compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = compose(*RUN, "optimizer=sgd")
    before: dict[str, Tensor] = {}
    forward = ImageClassifier.forward

    def poisoned(task: ImageClassifier, images: Tensor) -> Tensor:
        logits = forward(task, images)
        if task.training and task.trainer.global_step == FULL + 1 + 2:
            before.update({name: value.clone() for name, value in task.model.named_parameters()})
            before.update({str(i): s["momentum_buffer"].clone() for i, s in enumerate(momenta(task))})
            if poison == "gradient":
                logits.register_hook(lambda gradient: gradient * 1e38)
            else:
                change = torch.nan if poison == "loss" else 3e38 * torch.linspace(-1, 1, logits.shape[1])
                logits = logits + change
        return logits

    def momenta(task: ImageClassifier) -> list[dict[str, Tensor]]:
        return list(task.trainer.optimizers[0].state.values())

    monkeypatch.setattr(ImageClassifier, "forward", poisoned)
    data = build_datamodule(settings)
    with monkeypatch.context() as patch:
        patch.setattr(build, "choose_cuda_graph", lambda *_: mode)
        task = build_task(settings, data)
    trainer = build_trainer(settings, tmp_path)
    with pytest.raises(DivergenceError, match=rf"^{what} in step 3 of epoch 2, the training diverged; .*optimizer.lr"):
        trainer.fit(task, data)
    assert trainer.global_step == FULL + 1 + 2
    assert task.step_in_epoch == 3
    now = dict(task.model.named_parameters()) | {str(i): s["momentum_buffer"] for i, s in enumerate(momenta(task))}
    assert all(torch.equal(value, before[name]) for name, value in now.items())


def test_checkpoints_do_not_tell_of_the_graph_and_a_run_is_resumed_exactly(compose: Compose, tmp_path: Path) -> None:
    settings = compose(*RUN, "callbacks.ema.decay=0.9", "scheduler=onecycle")
    straight, task = fit(settings, tmp_path / "straight", True)
    assert isinstance(task, ChunkedClassifier)
    assert task._device_step is None  # with the memory of the graph
    with pytest.raises(Interruption):
        fit(settings, tmp_path / "stopped", True, InterruptingHandler(8))
    last = tmp_path / "stopped" / "checkpoints" / "last.ckpt"
    state = torch.load(last, weights_only=True)["optimizer_states"][0]["param_groups"][0]
    assert (type(state["lr"]), state["capturable"], state["fused"]) == (float, False, True)
    for mode in (True, False):
        resumed, _ = fit(settings, tmp_path / f"resumed {mode}", mode, resume=last)
        assert difference(straight, resumed) == []


def test_a_failed_capture_is_told_once_or_an_error(
    compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr(Graph, "fails", True)
    settings = compose(*RUN, "trainer.max_epochs=1")
    one_by_one, _ = fit(settings, tmp_path / "steps", False)
    assert difference(one_by_one, fit(settings, tmp_path / "auto", "auto")[0]) == []
    told = [str(w.message) for w in recwarn if "cuda_graph" in str(w.message)]
    assert told == [
        "trainer.cuda_graph: a step cannot be captured (RuntimeError: no such kernel); steps run one by one"
    ]
    with pytest.raises(SettingError, match=r"trainer.cuda_graph: got true, but .*no such kernel\); must be auto or"):
        fit(settings, tmp_path / "true", True)


def test_an_optimizer_that_is_not_fused_has_no_graph(compose: Compose, tmp_path: Path) -> None:
    settings = compose(*RUN, "optimizer=rmsprop", "trainer.max_epochs=1")
    _, task = fit(settings, tmp_path / "auto", "auto")
    assert task.automatic_optimization is False
    assert Graph.made == []
    with pytest.raises(
        SettingError, match=r"trainer.cuda_graph: got true with an optimizer that is not fused; must be"
    ):
        fit(settings, tmp_path / "true", True)


@pytest.mark.parametrize(
    ("overrides", "hooks", "why"),
    [
        ((), "", ""),
        (("optimizer=sgd", "callbacks.ema.decay=0.9", "trainer.precision=bf16-mixed"), "", ""),
        (("trainer.compile=true",), "", "trainer.compile=default"),
        (("optimizer=rmsprop",), "", "optimizer=rmsprop"),
        ((), "trainer.devices=2", "trainer.devices=2"),
        (("trainer.detect_anomaly=true",), "", "trainer.detect_anomaly=true"),
    ],
)
def test_the_settings_decide_where_a_graph_is_possible(
    overrides: tuple[str, ...], hooks: str, why: str, compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_graph, "device_kind", lambda _: "gpu")
    assert choose_cuda_graph(compose(*RUN, *overrides), hooks) == (False if why else "auto")
    assert choose_cuda_graph(compose(*RUN, *overrides, "trainer.cuda_graph=false"), hooks) is False
    wanted = compose(*RUN, *overrides, "trainer.cuda_graph=true")
    if why:
        with pytest.raises(SettingError, match=f"trainer.cuda_graph: got true with {why}; must be auto or false"):
            choose_cuda_graph(wanted, hooks)
    else:
        assert choose_cuda_graph(wanted, hooks) is True


def test_without_a_gpu_there_is_no_graph(compose: Compose) -> None:
    assert choose_cuda_graph(compose(*RUN), "") is False
    with pytest.raises(SettingError, match=r"got true with trainer.accelerator=cpu, without a CUDA device; must be"):
        build_task(settings := compose(*RUN, "trainer.cuda_graph=true"), build_datamodule(settings))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("scheduler", ["cosine", "onecycle"])
def test_a_graph_of_a_gpu_has_the_bits_of_steps_one_by_one(
    scheduler: str, compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    overrides = (f"scheduler={scheduler}", "callbacks.ema.decay=0.9", "trainer.gradient_clip_val=0.5", "augment=affine")
    overrides += ("scheduler.cycle_momentum=true",) if scheduler == "onecycle" else ()
    settings = compose(*RUN, *overrides, "trainer.accelerator=gpu")
    states = [fit(settings, tmp_path / str(mode), mode)[0] for mode in (False, True)]
    assert difference(*states) == []
