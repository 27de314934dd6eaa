from pathlib import Path
from typing import Any

import pytest

from lenet_pl.data.loader import limited
from lenet_pl.engine.build import build_data_and_task
from lenet_pl.engine.trainer import build_trainer, silence_lightning_logs
from lenet_pl.errors import SettingError

# 192 training images in 12 batches, 64 validation images in 4, 64 test images in 4
FAKE = ("data=fake", "loader.batch_size=16", "loader.eval_batch_size=16", "trainer.max_epochs=1", "logger=none")
FAKE += (
    "callbacks.progress_bar=false",
    "trainer.accelerator=cpu",
    "model.channels=[[2],[4]]",
    "model.hidden_sizes=[8]",
)


@pytest.mark.parametrize(("limit", "batches"), [(None, 12), (1, 1), (1.0, 12), (0.5, 6), (0.3, 3), (100, 12)])
def test_a_limit_is_a_number_of_batches_or_a_fraction(limit: Any, batches: int) -> None:
    assert limited(12, limit) == batches


@pytest.mark.parametrize(
    ("limits", "wanted"),
    [(("1", "1", "1"), (1, 1, 1)), (("1.0", "1.0", "1.0"), (12, 4, 4)), (("0.5", "0.5", "0.25"), (6, 2, 1))],
)
def test_lightning_takes_as_many_batches(
    limits: tuple[str, ...], wanted: tuple[int, ...], compose: Any, tmp_path: Path
) -> None:
    names = [f"trainer.limit_{name}_batches" for name in ("train", "val", "test")]
    settings = compose(*FAKE, *(f"{name}={limit}" for name, limit in zip(names, limits, strict=True)))
    data, task = build_data_and_task(settings)
    silence_lightning_logs()
    trainer = build_trainer(settings, tmp_path)
    trainer.fit(task, data)
    assert trainer.global_step == wanted[0]
    assert trainer.num_val_batches == [wanted[1]]
    trainer.test(task, data, verbose=False)
    assert trainer.num_test_batches == [wanted[2]]


@pytest.mark.parametrize("value", ["0", "0.0", "-1", "1.5", "true"])
def test_other_limits_are_errors(value: str, compose: Any) -> None:
    with pytest.raises(SettingError, match=r"trainer\.limit_val_batches: got "):
        compose(*FAKE, f"trainer.limit_val_batches={value}")


@pytest.mark.parametrize("name", ["train", "val", "test"])
def test_a_fraction_of_less_than_one_batch_is_an_error(name: str, compose: Any) -> None:
    with pytest.raises(SettingError, match=rf"trainer\.limit_{name}_batches: got 0\.01 of \d+ batches, less than one"):
        build_data_and_task(compose(*FAKE, f"trainer.limit_{name}_batches=0.01"))


@pytest.mark.parametrize(
    ("value", "mode"),
    [("true", "default"), ("false", None), ("null", None), ("default", "default"), ("max-autotune", "max-autotune")],
)
def test_compile_is_a_switch_or_a_mode(value: str, mode: str | None, compose: Any) -> None:
    settings = compose(f"trainer.compile={value}")
    assert settings.trainer.compile == settings.trainer.compile_mode == mode


def test_another_mode_of_compile_is_an_error(compose: Any) -> None:
    with pytest.raises(SettingError, match=r"trainer\.compile: got 'fast'; .*true or false.*'reduce-overhead'"):
        compose("trainer.compile=fast")
