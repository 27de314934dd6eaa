from collections.abc import Iterator
from typing import Any

import pytest
from commands import KINDS

from lenet_pl.compare.run_differences import NO_MATTER as COMPARED
from lenet_pl.search.best_experiment import KEPT
from lenet_pl.search.create_study import SAME
from lenet_pl.search.space import ROLES, SEARCHED
from lenet_pl.settings import Settings, TrainSettings
from lenet_pl.settings.roles import Role, keys_of, roles, values_of
from lenet_pl.settings.trained import RecordedModel, RecordedSettings
from lenet_pl.train.recorded_settings import NO_MATTER as RESUMED

COMMAND = {"run", "resume", "n_jobs", "traceback", "plugins", "data.accept_changes"}
COMMAND |= {"logger.mlflow.tracking_uri", "logger.wandb.mode", "trainer.fast_dev_run"}
LOCATION = {"data_root", "data.root"}
OUTPUT = {"logger", "logger.tensorboard", "logger.csv", "tags", "notes", "report", "metrics", "extra_loggers"}
OUTPUT |= {"logger.mlflow", "logger.mlflow.experiment_name"}
OUTPUT |= {"logger.wandb", "logger.wandb.project", "logger.wandb.entity"}
COSMETIC = {"callbacks.progress_bar", "callbacks.model_summary"}
MACHINE = {f"trainer.{name}" for name in ("accelerator", "devices", "strategy", "num_threads", "profiler")}
MACHINE |= {"data.download", "trainer.steps_per_hook", "trainer.cuda_graph"}
MACHINE |= {"trainer.benchmark", "trainer.detect_anomaly"}
NUMERICS = {"trainer.precision", "trainer.compile"}
EVALUATION = {"data", "data.name", "data.path", "data.test_path", "data.split", "data.split.method"}
EVALUATION |= {"data.split.val_size", "callbacks.checkpoint", "callbacks.checkpoint.monitor"}
EVALUATION |= {"trainer.limit_val_batches", "trainer.val_check_interval", "folds", "folds_group"}
EVALUATION |= {"data.split.fold", "data.split.fold.of", "data.split.fold.group"}
SEED, STAGE = {"seed", "seeds", "data.split.fold.number"}, {"train", "test"}


def without(*wanted: Role) -> set[str]:
    return keys_of(TrainSettings, *(role for role in Role if role not in wanted))


def test_what_follows_from_roles_is_what_the_commands_have_always_done() -> None:
    assert RESUMED == COMMAND | LOCATION | COSMETIC
    assert COMPARED == SEED | COMMAND | LOCATION | OUTPUT | COSMETIC
    everywhere = COMMAND | LOCATION | OUTPUT | COSMETIC | MACHINE | STAGE
    assert {key for key, role in ROLES.items() if role not in SEARCHED} == everywhere | EVALUATION | SEED
    assert without(*SAME) == everywhere | NUMERICS
    assert without(*KEPT) == everywhere | SEED


def test_values_are_those_of_their_roles(compose: Any) -> None:
    settings = compose("data=mnist")
    assert values_of(settings, *Role) == settings.model_dump()
    assert values_of(settings, Role.LOCATION) == {"data_root": settings.data_root, "data": {"root": settings.data.root}}
    assert "optimizer" not in values_of(settings, Role.SEED)


def groups(kind: type[Settings]) -> Iterator[type[Settings]]:
    from lenet_pl.settings.roles import groups_in

    yield kind
    for field in kind.model_fields.values():
        for group in groups_in(field.annotation):
            yield from groups(group)


ALL = sorted({g for kind in (*KINDS.values(), RecordedModel, RecordedSettings) for g in groups(kind)}, key=repr)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_setting_has_a_description(kind: type[Settings]) -> None:
    for name, field in kind.model_fields.items():
        text = field.description or ""
        assert (text[-1:], text[:1].isupper(), "\n" in text) == (".", True, False), f"{name}: {text!r}"


def test_marks_reach_the_choices_of_a_group() -> None:
    assert roles(TrainSettings)["logger.csv"] is Role.OUTPUT
    assert roles(TrainSettings)["optimizer"] is Role.RECIPE
