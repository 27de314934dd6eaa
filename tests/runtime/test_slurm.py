import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from cluster import ABRUPT, LOW, URGENT, Cluster, ClusterError, running_cluster, wait_until, why_not
from conftest import Compose
from lightning.fabric.plugins.environments import LightningEnvironment
from promise import case

from lenet_pl.engine.trainer import build_trainer
from lenet_pl.errors import SettingError
from lenet_pl.runtime import slurm
from lenet_pl.runtime.checkpoint_file import load_checkpoint
from lenet_pl.runtime.signals import Interruption, SignalHandler
from lenet_pl.train.resume import begin_or_resume

needs_launcher = pytest.mark.skipif(not slurm.has_launcher(), reason="needs hydra-submitit-launcher")
QUIET = (
    "logger=none",
    "report=none",
    "callbacks.progress_bar=false",
    "trainer.accelerator=cpu",
    "trainer.num_threads=1",
)
SMALL = ("hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=1")
STEPS = 611  # in an epoch of the digits, two at a time
LONG = ("loader.batch_size=2", "augment=affine", "model.dropout=0.2", "seed=7")
STARTED: list[subprocess.Popen[str]] = []
PATIENCE = 240.0  # s that a job may take, start and all, on a busy machine


@pytest.fixture
def cluster(one_cluster: Cluster) -> Iterator[Cluster]:
    """The same SLURM for each test, without what a failed one has left behind."""
    yield one_cluster
    for process in STARTED:
        if process.poll() is None:
            process.kill()
            process.wait()
    one_cluster.cancel_all()


@pytest.fixture(scope="module")
def one_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A real SLURM; skips where there can be none."""
    if reason := why_not():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("cluster") / "slurm"
    try:
        running = running_cluster(folder)
        started = running.__enter__()
    except ClusterError as error:
        pytest.skip(f"SLURM does not start here: {error}")
    try:
        yield started
    finally:
        running.__exit__(None, None, None)


class Sweep:
    """A multirun in the background, in a folder of its own."""

    def __init__(self, cluster: Cluster, folder: Path, *arguments: str) -> None:
        folder.mkdir()
        self.cluster, self.folder, self.runs = cluster, folder, folder / "runs"
        command = [sys.executable, "-m", "lenet_pl.train", "-m", *SMALL, *QUIET, *arguments]
        before = {job["JobId"] for job in cluster.jobs()}
        environment = {**cluster.environment, "OMP_NUM_THREADS": "1"}
        with (folder / "said").open("w") as said:
            self.process = subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=said, text=True)
        STARTED.append(self.process)
        self._before = before

    def jobs(self) -> list[dict[str, str]]:
        return [job for job in self.cluster.jobs() if job["JobId"] not in self._before and job["Partition"] != URGENT]

    def state(self) -> str:
        """State of the only job."""
        jobs = self.jobs()
        return jobs[0]["JobState"] if jobs else "NONE"

    def wait(self) -> int:
        return self.process.wait(PATIENCE)

    def said(self) -> str:
        """Everything that command and jobs have said."""
        logs = [self.folder / "said", *sorted(self.folder.glob("runs/**/.submitit/*/*_log.*"))]
        return "\n".join(f"== {log.name}\n{log.read_text()}" for log in logs)


def epochs_done(folder: Path) -> int:
    """How many epochs metrics.csv knows of."""
    path = folder / "metrics.csv"
    return len(path.read_text().splitlines()) - 1 if path.exists() else 0


def scores(folder: Path) -> list[list[str]]:
    """What metrics.csv says, less what the clock says."""
    return [line.split(",")[:7] for line in (folder / "metrics.csv").read_text().splitlines()]


def tensors(value: Any, name: str = "") -> dict[str, Any]:
    """Flatten a checkpoint to its tensors and numbers."""
    if isinstance(value, dict):
        return {k: v for key, child in value.items() for k, v in tensors(child, f"{name}/{key}").items()}
    if isinstance(value, list | tuple):
        return tensors(dict(enumerate(value)), name)
    return {name: value}


@needs_launcher
@pytest.mark.slow
def test_four_jobs_finish_with_what_was_asked_for(cluster: Cluster, tmp_path: Path) -> None:
    asked = (f"hydra.launcher.partition={LOW}", "hydra.launcher.timeout_min=7", "hydra.launcher.gpus_per_node=1")
    sweep = Sweep(cluster, tmp_path / "sweep", *asked, "seed=0,1,2,3", "run=runs", "trainer.max_epochs=1")
    assert sweep.wait() == 0, sweep.said()
    results = [json.loads((sweep.runs / str(number) / "results.json").read_text()) for number in range(4)]
    assert [result["seed"] for result in results] == [0, 1, 2, 3]
    assert len({result["metrics"]["test/loss"] for result in results}) == 4
    # The results are there a little before the job is over
    wait_until(lambda: [job["JobState"] for job in sweep.jobs()] == ["COMPLETED"] * 4, PATIENCE, "the end of all jobs")
    for job in sweep.jobs():
        assert (job["Partition"], job["TimeLimit"], job["MinMemoryNode"]) == (LOW, "00:07:00", "1G")
        assert job["TresPerNode"] == "gres:gpu:1"


@needs_launcher
@pytest.mark.long
def test_a_failed_job_is_told_of_and_the_others_finish(cluster: Cluster, tmp_path: Path) -> None:
    sweep = Sweep(cluster, tmp_path / "sweep", "run=runs", "trainer.max_epochs=1", "optimizer.lr=0.001,1e30")
    assert sweep.wait() == SettingError.exit_code, sweep.said()
    assert (sweep.runs / "0" / "results.json").exists()
    errors = [line for line in (sweep.folder / "said").read_text().splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert errors[0].startswith("error: 1 of 2 jobs have no result")
    told = json.loads((sweep.runs / "1" / "job.json").read_text())
    assert told["reason"].startswith("optimizer.lr: got 1e+30")


@needs_launcher
@pytest.mark.slow
@pytest.mark.parametrize(
    ("partition", "epochs"),
    [(LOW, 3), pytest.param(ABRUPT, 2, marks=pytest.mark.long)],
    ids=["with grace", "without grace"],
)
def test_a_job_that_was_preempted_and_ran_out_of_time_ends_as_if_nothing_had_been(
    cluster: Cluster, tmp_path: Path, partition: str, epochs: int
) -> None:
    # Its folder has the time of submission in its name, as it has without `run=`
    name = "run=runs/${now:%H-%M-%S-%f}"
    settings = (*LONG, f"trainer.max_epochs={epochs}")
    sweep = Sweep(cluster, tmp_path / "sweep", f"hydra.launcher.partition={partition}", name, *settings)
    undisturbed = tmp_path / "undisturbed"
    command = [sys.executable, "-m", "lenet_pl.train", *QUIET, *settings, f"run={undisturbed}"]
    alone = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL, text=True)
    STARTED.append(alone)

    folder = begun(sweep)
    wait_until(lambda: epochs_done(folder) == 1, PATIENCE, "the first epoch")
    # Another job, of a partition with precedence, takes the whole node
    urgent = cluster.ask(
        "sbatch", "--parsable", "--exclusive", f"--partition={URGENT}", "--output=/dev/null", "--wrap=sleep 600"
    )
    running = ("squeue", "--noheader", "--states=RUNNING", "--format=%A")
    wait_until(lambda: cluster.ask(*running) == urgent, PATIENCE, "the preemption")
    assert sweep.state() == "PENDING", sweep.said()
    first = load_checkpoint(folder / "checkpoints" / "last.ckpt")
    assert STEPS <= first["global_step"] < 2 * STEPS, "not stopped in the second epoch"
    cluster.ask("scancel", urgent)

    if epochs > 2:
        wait_until(lambda: epochs_done(folder) == 2, PATIENCE, "the second epoch, after the restart")
        # What SLURM sends `signal_delay_s` before the time is up
        cluster.ask("scancel", f"--signal={signal.SIGUSR2.name}", sweep.jobs()[0]["JobId"])
        wait_until(lambda: sweep.state() == "PENDING", PATIENCE, "the second requeue")
        second = load_checkpoint(folder / "checkpoints" / "last.ckpt")
        assert 2 * STEPS <= second["global_step"] < 3 * STEPS, "not stopped in the third epoch"

    assert sweep.wait() == 0, sweep.said()
    assert alone.wait(PATIENCE) == 0
    assert sweep.jobs()[0]["Restarts"] == str(epochs - 1)
    assert list(sweep.runs.iterdir()) == [folder.parent]  # no second folder
    assert sorted(path.name for path in folder.parent.iterdir()) == [".submitit", "0", "multirun.yaml"]
    assert not list(folder.rglob("hpc_ckpt*"))  # Lightning has kept out of it
    assert scores(folder) == scores(undisturbed)
    told = [json.loads((path / "results.json").read_text()) for path in (folder, undisturbed)]
    assert told[0]["metrics"] == told[1]["metrics"]
    for name in ("last", "best"):
        one, other = (load_checkpoint(path / "checkpoints" / f"{name}.ckpt") for path in (folder, undisturbed))
        for part in ("state_dict", "optimizer_states", "lr_schedulers"):
            ours, theirs = tensors(one[part]), tensors(other[part])
            assert ours.keys() == theirs.keys()
            for key, value in ours.items():
                assert torch.equal(value, theirs[key]) if isinstance(value, torch.Tensor) else value == theirs[key]


@needs_launcher
@pytest.mark.long
def test_a_cancelled_job_stays_cancelled_and_keeps_its_checkpoint(cluster: Cluster, tmp_path: Path) -> None:
    sweep = Sweep(
        cluster, tmp_path / "sweep", f"hydra.launcher.partition={LOW}", "run=runs", *LONG, "trainer.max_epochs=9"
    )
    folder = begun(sweep)
    wait_until(lambda: epochs_done(folder) == 1, PATIENCE, "the first epoch")
    cluster.ask("scancel", sweep.jobs()[0]["JobId"])
    wait_until(lambda: not cluster.ask("squeue", "--noheader"), PATIENCE, "the end")
    assert sweep.state() == "CANCELLED"
    sweep.process.kill()  # without SLURM's accounting submitit learns of ends from results alone
    sweep.process.wait(PATIENCE)
    assert load_checkpoint(folder / "checkpoints" / "last.ckpt")["global_step"] > STEPS
    assert sweep.jobs()[0]["Restarts"] == "0"


def begun(sweep: Sweep) -> Path:
    """Wait until the sweep's first run has its folder, and return it."""

    def _begun() -> bool:
        assert sweep.process.poll() is None, sweep.said()
        return bool(list(sweep.runs.rglob("config.yaml")))

    wait_until(_begun, PATIENCE, "the start")
    return next(iter(sweep.runs.rglob("config.yaml"))).parent


@pytest.fixture
def scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Put this process into a job, with a controller that says what it is given and notes what it is asked."""
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.delenv("SUBMITIT_EXECUTOR", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    def _scontrol(says: str) -> Path:
        asked = tmp_path / "asked"
        script = f"#!/bin/sh\necho \"$@\" >> {asked}\necho '{says}'\n"
        (tmp_path / "scontrol").write_text(script)
        (tmp_path / "scontrol").chmod(0o755)
        return asked

    return _scontrol


@pytest.mark.parametrize(
    ("state", "number", "requeued"),
    [
        ("JobState=RUNNING PreemptTime=2026-01-01T00:00:00", signal.SIGTERM, True),
        ("JobState=RUNNING PreemptTime=None", signal.SIGTERM, False),  # from a user, who means it
        ("JobState=CANCELLED PreemptTime=None", signal.SIGTERM, False),
        ("JobState=PENDING PreemptTime=None", signal.SIGTERM, False),  # by SLURM itself
        pytest.param(  # asked for with sbatch --signal
            "JobState=RUNNING PreemptTime=None",
            signal.SIGUSR1,
            True,
            marks=case("crash", "SIGUSR1 from SLURM: exits after the step, and the job is requeued"),
        ),
        ("JobState=RUNNING PreemptTime=2026-01-01T00:00:00", signal.SIGINT, False),
    ],
)
def test_only_a_job_that_is_to_go_on_is_put_back(
    state: str, number: signal.Signals, requeued: bool, scontrol: Callable[[str], Path]
) -> None:
    asked = scontrol(state)
    before = signal.getsignal(signal.SIGUSR1)

    def train() -> None:
        with slurm.requeue_on_preemption(), SignalHandler() as signals:
            signals.defer_to_step_end = True
            signal.raise_signal(number)
            assert not asked.exists()  # the step comes to its end first
            signals.check()

    with pytest.raises(Interruption):
        train()
    told = asked.read_text().splitlines() if asked.exists() else []
    assert ("requeue 12" in told) == requeued
    assert signal.getsignal(signal.SIGUSR1) == before


def test_only_the_first_of_several_processes_puts_the_job_back(
    scontrol: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = scontrol("JobState=RUNNING PreemptTime=2026-01-01T00:00:00")
    for number in (signal.SIGTERM, signal.SIGUSR1):
        with pytest.raises(Interruption), slurm.requeue_on_preemption(first=False), SignalHandler():
            signal.raise_signal(number)
    assert not asked.exists()


@case(
    "situations",
    "two trainings with one device each in one SLURM job, USR1: the one that still trains requeues the job",
)
def test_every_run_of_a_job_puts_it_back(scontrol: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = scontrol("")
    monkeypatch.setenv("SLURM_PROCID", "1")
    with pytest.raises(Interruption), slurm.requeue_on_preemption(), SignalHandler():
        signal.raise_signal(signal.SIGUSR1)
    assert asked.read_text().splitlines() == ["requeue 12"]


def test_outside_slurm_signals_and_folders_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    before = signal.getsignal(signal.SIGUSR1)
    with slurm.requeue_on_preemption():
        assert signal.getsignal(signal.SIGUSR1) == before
    slurm.note_job(tmp_path)
    assert not slurm.was_requeued(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("devices", [1, 2])
def test_in_a_job_lightning_learns_nothing_of_it(
    devices: int, scontrol: object, compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.delenv("SLURM_JOB_NAME", raising=False)
    settings = compose(*QUIET[:-1], f"trainer.devices={devices}", "trainer.strategy=ddp")
    trainer = build_trainer(settings, tmp_path)
    environment = trainer._accelerator_connector.cluster_environment
    assert type(environment) is LightningEnvironment
    assert (trainer.world_size, trainer.global_rank) == (devices, 0)


@pytest.mark.parametrize(("count", "was_requeued"), [("", False), ("0", False), ("2", True)])
def test_a_job_knows_that_it_was_begun_before(
    count: str, was_requeued: bool, scontrol: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm.note_job(tmp_path)
    monkeypatch.setenv("SLURM_RESTART_COUNT", count)
    assert slurm.was_requeued(tmp_path) == was_requeued


@case("situations", "a notebook in a requeued job, with the folder of another run: rejected, not resumed")
def test_a_restarted_job_continues_no_run_but_its_own(
    scontrol: object, digits_run: Path, compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    folder = tmp_path / "run"
    shutil.copytree(digits_run, folder)
    for job in (None, "11"):  # begun outside SLURM, and by another job
        if job:
            (folder / slurm.JOB).write_text(job)
        with pytest.raises(SettingError, match=r"^run: .* already contains a run"):
            begin_or_resume(compose(f"run={folder}"), folder, [], False)
    (folder / slurm.JOB).write_text("12")
    assert begin_or_resume(compose(f"run={folder}", "trainer.max_epochs=8"), folder, [], False) is None  # finished


def test_without_slurm_the_launcher_is_refused_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lenet_pl.train", "-m", slurm.LAUNCHER, "seed=0,1"]
    environment = {**os.environ, "PATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == SettingError.exit_code
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: hydra/launcher=slurm: no SLURM on this machine, sbatch, ")
    assert not list(tmp_path.iterdir())


def test_a_single_run_is_not_submitted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm.shutil, "which", lambda name: name)
    monkeypatch.setattr(slurm, "has_launcher", lambda: True)
    with pytest.raises(SettingError, match="use -m before the settings"):
        slurm.check_launcher([slurm.LAUNCHER], multirun=False)
    monkeypatch.setattr(slurm, "has_launcher", lambda: False)
    with pytest.raises(SettingError, match=r"pip install 'lenet_pl\[slurm\]'"):
        slurm.check_launcher([slurm.LAUNCHER], multirun=True)


@needs_launcher
def test_sbatchs_refusal_is_one_line(cluster: Cluster, tmp_path: Path) -> None:
    sweep = Sweep(cluster, tmp_path / "sweep", "run=runs", "hydra.launcher.partition=nowhere")
    assert sweep.wait() == 1
    assert (
        (sweep.folder / "said")
        .read_text()
        .splitlines()[-1]
        .startswith("error: hydra.launcher: the job is rejected by sbatch: invalid partition specified: nowhere")
    )


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
@case(
    "situations",
    "a real `srun -n 2`: one training with two devices; with one device each, one trains and one is rejected",
)
def test_two_tasks_of_srun_leave_one_run(devices: int, cluster: Cluster, tmp_path: Path) -> None:
    given = (*QUIET, "data=fake", "data.num_images=96", "loader.batch_size=24", "trainer.max_epochs=1", "run=both")
    command = ["srun", "-n2", "--mem-per-cpu=500", sys.executable, "-m", "lenet_pl.train", *given]
    environment = {**cluster.environment, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, f"trainer.devices={devices}", "trainer.strategy=ddp"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert (done.returncode, len(errors)) == ((0, 0) if devices == 2 else (2, 1)), done.stderr
    assert all(re.match(r"error: run: /\S+ (is locked by|already contains|is not empty)", line) for line in errors)
    results = json.loads((tmp_path / "both" / "results.json").read_text())
    assert results["images"]["train"] + results["images"]["validation"] == 96
    assert len((tmp_path / "both" / "metrics.csv").read_text().splitlines()) == 2


@pytest.mark.slow
def test_a_batch_script_with_several_tasks_trains_with_one_device(cluster: Cluster, tmp_path: Path) -> None:
    given = " ".join(
        (*QUIET, "data=fake", "data.num_images=96", "loader.batch_size=24", "trainer.max_epochs=1", "run=one")
    )
    script = f"cd {tmp_path} && env > variables; {sys.executable} -m lenet_pl.train {given}"
    job = cluster.ask(
        "sbatch", "--parsable", "--ntasks=2", "--mem-per-cpu=500", f"--output={tmp_path}/said", f"--wrap={script}"
    )
    wait_until(lambda: job not in cluster.ask("squeue", "--noheader", "--format=%A"), PATIENCE, "the end")
    assert (tmp_path / "one" / "results.json").exists(), (tmp_path / "said").read_text()
    variables = (tmp_path / "variables").read_text()
    assert "SLURM_NTASKS=2\n" in variables  # what Lightning takes for two processes
    assert "SLURM_STEP_ID=" not in variables
