"""Jobs of a sweep: none stops another, each leaves a result or a reason, and a repeat runs what is missing."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Compose
from promise import case

from lenet_pl.cli.sweep import read_job, start_sweep
from lenet_pl.cli.sweep_job import refuse_dev_run, refuse_devices
from lenet_pl.errors import SettingError

TRAIN = [sys.executable, "-m", "lenet_pl.train"]
SHORT = (
    "trainer.max_epochs=2",
    "trainer.limit_train_batches=20",
    "trainer.limit_val_batches=1",
    "trainer.limit_test_batches=1",
    "logger=none",
    "callbacks.progress_bar=false",
    "callbacks.model_summary=false",
)


def jobs(folder: Path) -> dict[int, dict[str, Any]]:
    found = (json.loads(path.read_text()) for path in folder.glob("*/job.json"))
    return {job["job"]: job for job in found}


Start = Callable[[list[str], dict[str, str]], "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start commands, and end those that a failed test leaves."""
    with ExitStack() as stack:

        def _start(command: list[str], environment: dict[str, str]) -> "subprocess.Popen[str]":
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            process = stack.enter_context(subprocess.Popen(command, env=environment, text=True, **pipes))
            stack.callback(process.kill)
            return process

        yield _start


@case(
    "crash", "a sweep with a killed, an invalid and a failing job: the others finish, reasons are printed, exit code 2"
)
@pytest.mark.slow
@pytest.mark.skipif(not find_spec("joblib"), reason="needs hydra-joblib-launcher")
def test_a_grid_with_three_bad_jobs_has_nine_results_and_three_reasons(
    start: Start, tmp_path: Path, command_environment: dict[str, str]
) -> None:
    # 12 jobs: with -1 an impossible setting, with 1000 a training that diverges, and one that is killed
    rates = "0.01,0.02,0.03,0.04,0.05,0.06,0.07,0.08,0.09,0.1,-1,1000"
    command = [*TRAIN, "-m", f"run={tmp_path / 'grid'}", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    command += [
        "optimizer=sgd",
        "optimizer.momentum=0",
        "optimizer.nesterov=false",
        f"optimizer.lr={rates}",
        *SHORT,
    ]
    environment = {name: value for name, value in command_environment.items() if name != "OMP_NUM_THREADS"}
    sweep = start(command, environment)
    victim = tmp_path / "grid" / "3"
    while not (victim / "config.yaml").exists():  # it is at work
        assert sweep.poll() is None, sweep.communicate()
        time.sleep(0.01)
    job = read_job(victim)
    assert job
    assert job.pid
    os.kill(job.pid, signal.SIGKILL)
    out, errors = sweep.communicate(timeout=400)
    assert sweep.returncode == 2  # of the impossible setting; the others have 1
    found = jobs(tmp_path / "grid")
    bad = {number: (job["state"], job["reason"]) for number, job in found.items() if job["state"] != "finished"}
    assert len(found) == 12
    assert bad.keys() == {3, 10, 11}
    assert bad[3] == ("killed", "killed by SIGKILL")
    assert bad[10] == ("refused", "optimizer.lr: got -1; must be greater than 0")
    assert bad[11][0] == "failed"
    assert "diverged" in bad[11][1]
    assert "12 jobs" in out
    assert "3 of 12 jobs have no result" in errors
    assert "Traceback" not in out + errors
    results = {path: path.read_bytes() for path in (tmp_path / "grid").glob("*/results.json")}
    assert len(results) == 9
    threads = {json.loads(content)["threads"] for content in results.values()}
    assert threads == {max(1, len(os.sched_getaffinity(0)) // 2)}  # the cores are divided among the jobs

    again = subprocess.run([*command, "resume=auto"], env=environment, capture_output=True, text=True, timeout=400)
    states = {number: job["state"] for number, job in jobs(tmp_path / "grid").items()}
    assert states == dict.fromkeys(range(10), "kept") | {3: "finished", 10: "refused", 11: "failed"}
    assert {path: path.read_bytes() for path in results} == results
    assert again.returncode == 2
    table = subprocess.run(
        [
            sys.executable,
            "-m",
            "lenet_pl.compare",
            f"runs={tmp_path / 'grid'}",
            "group_by=optimizer.lr",
            f"output_dir={tmp_path / 'c'}",
        ],
        env=environment | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert table.count("│ digits") == 10
    assert "10: refused: optimizer.lr: got -1" in table
    assert "11: failed: " in table


@pytest.mark.long
@case("reproducibility", "an interrupted and resumed job of a sweep: the same metrics as a single run")
def test_a_job_of_a_sweep_equals_the_run_alone_and_an_interrupted_sweep_goes_on(
    start: Start, tmp_path: Path, command_environment: dict[str, str]
) -> None:
    settings = [*SHORT[1:], "data=digits", "model=lenet_avg_dropout", "augment=affine", "trainer.max_epochs=40"]
    command = [*TRAIN, "-m", f"run={tmp_path / 'sweep'}", "seed=3,4", *settings]
    sweep = start(command, command_environment)
    while not (tmp_path / "sweep" / "0" / "metrics.csv").exists():
        assert sweep.poll() is None, sweep.communicate()
        time.sleep(0.01)
    sweep.send_signal(signal.SIGTERM)
    _, errors = sweep.communicate(timeout=100)
    assert sweep.returncode == 143, errors
    assert {number: job["state"] for number, job in jobs(tmp_path / "sweep").items()} == {0: "interrupted"}
    subprocess.run([*command, "resume=auto"], env=command_environment, check=True, stdout=subprocess.DEVNULL)
    assert {number: job["state"] for number, job in jobs(tmp_path / "sweep").items()} == {0: "finished", 1: "finished"}
    for number, seed in enumerate((3, 4)):
        alone = tmp_path / f"alone_{seed}"
        subprocess.run(
            [*TRAIN, f"run={alone}", f"seed={seed}", *settings],
            env=command_environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        ours, theirs = (json.loads((p / "results.json").read_text()) for p in (tmp_path / "sweep" / str(number), alone))
        assert ours["metrics"] == theirs["metrics"]
        assert ours["threads"] == theirs["threads"]


@pytest.mark.slow
def test_jobs_do_not_outlive_a_sweep_that_is_killed(
    start: Start, tmp_path: Path, command_environment: dict[str, str]
) -> None:
    settings = [*SHORT[1:], "data=digits", "trainer.max_epochs=1000", "callbacks.early_stopping=null"]
    sweep = start([*TRAIN, "-m", f"run={tmp_path / 'sweep'}", "seed=0,1", *settings], command_environment)
    folder = tmp_path / "sweep" / "0"
    while not (folder / "checkpoints" / "last.ckpt").exists():
        assert sweep.poll() is None, sweep.communicate()
        time.sleep(0.01)
    job = read_job(folder)
    assert job
    assert job.pid
    sweep.kill()
    for _ in range(600):
        if not Path(f"/proc/{job.pid}").exists():
            break
        time.sleep(0.05)
    else:
        pytest.fail("the job goes on")
    assert torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] > 0
    assert not list(folder.rglob("*.part"))


def test_a_sweep_has_its_folder_before_its_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["train.py", "-m", "seed=0,1"]
    folder = start_sweep(arguments)
    assert arguments[-1] == f"run={folder}"
    assert start_sweep(["train.py", "-m", "run='a b'"]) == Path("a b")
    assert start_sweep(["train.py", "-m", "run=x", "hydra.sweep.dir=y"]) == Path("y")
    assert start_sweep(["train.py", "-m", "run=x,y"]) is None


def test_two_sweeps_begun_together_have_two_folders() -> None:
    assert start_sweep(["-m"]) != start_sweep(["-m"])


def test_a_check_that_writes_nothing_is_refused_in_a_sweep(compose: Compose) -> None:
    refuse_dev_run(compose("trainer=gpu").trainer)
    with pytest.raises(SettingError, match=r"^trainer\.fast_dev_run: got 1 in a sweep; must be false"):
        refuse_dev_run(compose("trainer.fast_dev_run=1").trainer)


def test_several_devices_are_refused_in_a_sweep(compose: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    given = compose("trainer=ddp").trainer
    with pytest.raises(SettingError, match=r"^trainer\.devices: got 2, .*--multirun .*; use .*trainer\.devices=1"):
        refuse_devices(given, "basic")
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("SLURM_PROCID", "0")
    with pytest.raises(SettingError, match=r"^trainer\.devices: got 2 in a job of 1 tasks; .*tasks_per_node=2"):
        refuse_devices(given, "slurm")
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    refuse_devices(given, "slurm")  # the cluster has started the processes
    with pytest.raises(SettingError, match=r"^trainer\.devices: got 1 in a job of 2 tasks"):  # two in one folder
        refuse_devices(given.model_copy(update={"devices": 1}), "slurm")
