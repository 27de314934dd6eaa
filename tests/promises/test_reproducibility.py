"""The same settings give the same bits, whatever else differs between two runs."""

import contextlib
import json
import shutil
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_diff import checkpoint, difference
from conftest import Compose
from promise import case

from lenet_pl.engine.chunked import STEPS_PER_CHUNK
from lenet_pl.train import train

SAME = "identical last.ckpt, at tolerance 0"
NO_WORKERS = "{} loader workers, as batches are made in the training process"
LEARNS = (
    "model=lenet_bn",
    "model.channels=[[4],[8]]",
    "model.hidden_sizes=[16]",
    "augment=affine",
    "loader.batch_size=50",
    "trainer.limit_train_batches=22",
    "trainer.max_epochs=2",
    "trainer.accelerator=cpu",
    "callbacks=no_early_stopping",
)
QUIET = (
    "callbacks.progress_bar=false",
    "callbacks.model_summary=false",
    "logger=none",
    "report=none",
    "trainer.num_threads=1",
)

Trained = Callable[..., Path]


@pytest.fixture(scope="module")
def trained(compose: Compose, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train after unrelated use of the random number generators; return the run folder."""

    def _trained(*overrides: str) -> Path:
        folder = tmp_path_factory.mktemp("run")
        torch.manual_seed(hash(folder) % 2**32)
        train(compose(*LEARNS, *QUIET, *overrides), folder)
        return folder

    return _trained


@pytest.fixture(scope="module")
def plain(trained: Trained) -> Path:
    return trained()


def without(state: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in state.items() if name not in names}


@case("reproducibility", f"the same run twice: {SAME}")
def test_the_same_run_twice(plain: Path, trained: Trained) -> None:
    again = trained()
    assert difference(checkpoint(plain), checkpoint(again)) == []
    assert difference(checkpoint(plain, "best"), checkpoint(again, "best")) == []


@case("reproducibility", "another seed: different bits, so the comparison can fail")
def test_another_seed(plain: Path, trained: Trained) -> None:
    assert "/state_dict/model.classifier.linear1.weight" in difference(checkpoint(plain), checkpoint(trained("seed=1")))


@case("reproducibility", "1 and 2 threads: each reproducible, both recorded, and approximately equal")
def test_threads_are_part_of_what_is_recorded(trained: Trained, threads: None) -> None:
    exact = "trainer.precision=32-true"  # bf16 has fewer than four significant digits
    one, two, again = trained(exact), trained(exact, "trainer.num_threads=2"), trained(exact, "trainer.num_threads=2")
    assert difference(checkpoint(two), checkpoint(again)) == []
    results = [json.loads((folder / "results.json").read_text()) for folder in (one, two)]
    assert [result["threads"] for result in results] == [1, 2]
    assert [checkpoint(folder)["threads"] for folder in (one, two)] == [1, 2]
    first = [checkpoint(folder)["callbacks"]["EpochRecorder"]["step_losses"][:5] for folder in (one, two)]
    assert first[1] == pytest.approx(first[0], rel=1e-4)


@pytest.mark.parametrize(
    ("length", "workers"),
    [
        pytest.param(
            length,
            workers,
            id=str(length),
            marks=case(
                "reproducibility",
                f"{length} optimizer steps per Lightning step: {SAME}",
                instead_of=NO_WORKERS.format(workers),
            ),
        )
        for length, workers in ((1, 0), (2, 1), (7, 2), (1000, 4))
    ],
)
def test_how_many_batches_are_made_at_a_time(length: int, workers: int, plain: Path, trained: Trained) -> None:
    assert STEPS_PER_CHUNK not in (length, 22)
    one, other = checkpoint(plain), checkpoint(trained(f"trainer.steps_per_hook={length}"))
    # Lightning counts chunks of batches
    own = ("loops", "hyper_parameters")
    assert difference(without(one, *own), without(other, *own)) == []


@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile on a CPU needs a C++ compiler")
@case("reproducibility", f"the same run twice with trainer.compile: {SAME}, with the same weight names as without")
def test_compiled_twice(plain: Path, trained: Trained) -> None:
    first, second = trained("trainer.compile=default"), trained("trainer.compile=default")
    assert difference(checkpoint(first), checkpoint(second)) == []
    assert checkpoint(first)["state_dict"].keys() == checkpoint(plain)["state_dict"].keys()


@case("reproducibility", f"with loggers, progress bar and model summary: {SAME}")
def test_watching_changes_nothing(plain: Path, trained: Trained) -> None:
    watched = trained("logger=both", "trainer.log_every_n_steps=1", "callbacks.model_summary=true")
    own = ("hyper_parameters", "datamodule_hyper_parameters")
    assert difference(without(checkpoint(plain), *own), without(checkpoint(watched), *own)) == []


@case(
    "reproducibility",
    "validation on fewer images or in other batches: weights and optimizer state in last.ckpt are identical",
)
def test_validation_does_not_change_training(plain: Path, trained: Trained) -> None:
    for override in ("trainer.limit_val_batches=1", "loader.eval_batch_size=13"):
        other = checkpoint(trained(override))
        for part in ("state_dict", "optimizer_states"):
            assert difference(checkpoint(plain)[part], other[part]) == []


@case(
    "reproducibility", "threads, cores, versions, device, git commit and command: recorded in results.json of every run"
)
def test_what_a_result_depends_on_is_recorded(plain: Path) -> None:
    results = json.loads((plain / "results.json").read_text())
    for name in ("torch", "lightning", "torchmetrics", "numpy"):
        assert results["versions"][name].partition("+")[0] == metadata.version(name).partition("+")[0]
    assert results["threads"] == 1
    assert results["device"].startswith("cpu")
    assert results["command"]
    commit = results["git_commit"]
    with contextlib.suppress(TypeError):  # None outside a git checkout
        assert len(commit.rstrip("+")) == 40
