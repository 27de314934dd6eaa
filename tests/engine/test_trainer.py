from typing import Any

import pytest
import torch
from conftest import Compose

from lenet_pl.engine.device import choose_precision


@pytest.mark.parametrize(
    ("capabilities", "accelerator", "chosen"),
    [
        ({}, "cpu", "32-true"),
        ({"avx512_bf16": False, "amx_bf16": False}, "cpu", "32-true"),
        ({"avx512_bf16": True}, "cpu", "bf16-mixed"),
        ({"amx_bf16": True}, "auto", "bf16-mixed"),
        ({"amx_bf16": True}, "gpu", "32-true"),
    ],
)
def test_bf16_is_chosen_only_on_a_cpu_with_instructions_for_it(
    capabilities: dict[str, Any], accelerator: str, chosen: str, compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_precision(compose(f"trainer.accelerator={accelerator}").trainer) == chosen


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "64-true"])
def test_a_precision_that_is_asked_for_is_taken(precision: str, compose: Compose) -> None:
    assert choose_precision(compose(f"trainer.precision={precision}").trainer) == precision
