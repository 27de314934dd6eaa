import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import Compose
from torch import nn

from lenet_pl.engine.build import build_data_and_task
from lenet_pl.runtime.threads import (
    SHORT_WAIT,
    LoadMeter,
    _quota,
    choose_threads,
    default_waiting,
    prepare_openmp,
    training_operations,
    usable_cores,
)


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in (*SHORT_WAIT, "OMP_WAIT_POLICY", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "")  # so that it is put back afterwards, and
        monkeypatch.delenv(name)
    monkeypatch.delitem(sys.modules, "torch")  # the environment is prepared before it is imported
    return monkeypatch


def test_idle_threads_sleep_unless_the_user_has_chosen(clean: pytest.MonkeyPatch) -> None:
    import os

    prepare_openmp()
    assert {name: os.environ[name] for name in SHORT_WAIT} == SHORT_WAIT
    with default_waiting():
        assert not os.environ.keys() & SHORT_WAIT.keys()
    assert os.environ["GOMP_SPINCOUNT"] == SHORT_WAIT["GOMP_SPINCOUNT"]


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_the_user_s_own_policy_stays(clean: pytest.MonkeyPatch, name: str) -> None:
    import os

    clean.setenv(name, "ACTIVE")
    prepare_openmp()
    assert os.environ[name] == "ACTIVE"
    assert not os.environ.keys() & SHORT_WAIT.keys() - {name}


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "200000 100000\n"}, 2.0),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "150000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_the_quota_of_a_container(files: dict[str, str], cores: float | None, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert _quota(tmp_path) == cores


def test_a_container_with_fewer_cores_than_its_machine_gets_fewer_threads(clean: pytest.MonkeyPatch) -> None:
    import os

    clean.setattr("lenet_pl.runtime.threads._cpu_set", lambda: set(range(64)))
    clean.setattr("lenet_pl.runtime.threads._quota", lambda root: 2.0)
    prepare_openmp()
    assert usable_cores() == 2
    assert os.environ["OMP_NUM_THREADS"] == "2"


def test_operations_are_three_times_the_forward_multiply_adds_less_the_inputs_gradient() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.Linear(5, 3))
    forward = 2 * (16 * 5 + 5 * 3)
    backward = 2 * (16 * 5) + 2 * 2 * (5 * 3)  # the first layer has nobody to pass a gradient on to
    assert training_operations(model, torch.zeros(1, 1, 4, 4)) == forward + backward


def test_operations_are_those_of_the_published_layers(compose: Compose) -> None:
    data, task = build_data_and_task(compose("data=fake", "data.image_size=28", "model=lenet5"))
    # Multiply-adds of LeNet-5: C1 and C3 per output pixel, then the linear layers
    forward = 28 * 28 * 6 * 25 + 10 * 10 * 16 * 150 + 400 * 120 + 120 * 84 + 84 * 10
    first = 28 * 28 * 6 * 25  # which passes no gradient to the image
    assert training_operations(task.model, data.example_input()) == 2 * (3 * forward - first)


@pytest.mark.parametrize(
    ("model", "batch_size", "many"), [("lenet5", 128, False), ("lenet5", 2000, True), ("lenet_bn", 128, True)]
)
def test_one_thread_where_a_step_is_short(
    model: str, batch_size: int, many: bool, compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr("lenet_pl.runtime.threads.usable_cores", lambda: 4)
    data, task = build_data_and_task(compose("data=fake", f"model={model}"))
    before = {name: value.clone() for name, value in task.model.state_dict().items()}
    drawn = torch.get_rng_state()
    assert choose_threads(task.model, data.example_input(), batch_size) == (4 if many else 1)
    assert all(torch.equal(value, before[name]) for name, value in task.model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), drawn)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the load of others is read from Linux's /proc")
def test_work_of_other_processes_is_counted_and_one_s_own_is_not() -> None:
    def spin(seconds: float) -> None:
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass

    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        meter = LoadMeter()
        spin(1.0)
        others = meter.cores_of_others()
    finally:
        other.kill()
        other.wait()
    assert others is not None
    assert others > 0.3  # half a core or more, even where other tests run
