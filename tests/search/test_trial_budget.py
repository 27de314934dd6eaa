"""Several workers on one study, with a function of 10 ms in place of a training, so that they contend often."""

import contextlib
import multiprocessing
import os
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from postgresql_server import Query, Server, needs_postgresql, running_server
from sqlalchemy.exc import OperationalError

from lenet_pl.errors import DataError, SettingError
from lenet_pl.search.create_study import make_study
from lenet_pl.search.database import open_storage
from lenet_pl.search.storage import StorageLostError
from lenet_pl.search.trial_budget import SharedStudy, TrialError
from lenet_pl.search.trial_counts import REASON
from lenet_pl.settings import compose as composition
from lenet_pl.settings.search import SearchSettings

WANTED = 40


class Quick:
    """Sample a number; fail, be killed or be suspended as requested."""

    def __init__(self, death: str | None, folder: Path) -> None:
        self.death, self.folder, self.done = death, folder, 0
        self.beating = threading.Lock()

    def __call__(self, trial: optuna.Trial) -> float:
        value = trial.suggest_float("x", 0, 1)
        time.sleep(0.01)
        self.done += 1
        if self.done == 3 and self.death:
            with self.beating:  # suspended during a write, it would lock the file for all others
                os.kill(os.getpid(), getattr(signal, self.death))
        if self.done == 2:
            trial.set_user_attr(REASON, "on purpose")
            raise TrialError
        (self.folder / f"{trial.number}.{os.getpid()}").write_text(str(value))
        return value


def settings(folder: Path, storage: str | None = None) -> SearchSettings:
    given = composition.compose(
        "search", SearchSettings, [f"run={folder}", "search.heartbeat_interval=1", "search.grace_period=3"]
    )
    return given.model_copy(update={"search": given.search.model_copy(update={"storage": storage})})


def work(folder: Path, url: str | None, death: str | None, together: Any) -> None:
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    storage = open_storage(settings(folder, url))
    study = make_study(storage, "shared", "maximize")
    quick, beat = Quick(death, folder), storage.record_heartbeat

    def guarded(trial_id: int) -> None:
        with quick.beating:
            beat(trial_id)

    storage.record_heartbeat = guarded  # type: ignore[method-assign]
    together.wait(90)  # otherwise the first ones finish all trials while the last one imports Optuna
    SharedStudy(study, storage, WANTED, retries=3).work(quick)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as server:
        yield server


def rows(folder: Path, text: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(folder / "study.db", timeout=10)) as connection:
        return connection.execute(text).fetchall()


def five_workers(tmp_path: Path, url: str | None, query: Query) -> None:
    """One worker is killed and one suspended."""
    spawn = multiprocessing.get_context("spawn")
    deaths = ("SIGKILL", "SIGSTOP", None, None, None)
    together = spawn.Barrier(len(deaths))
    workers = [spawn.Process(target=work, args=(tmp_path, url, death, together)) for death in deaths]
    for worker in workers:
        worker.start()
    try:
        for worker in workers[2:]:
            worker.join(120)
        os.kill(workers[1].pid or 0, signal.SIGCONT)  # resumes in a trial that another worker has repeated meanwhile
        workers[1].join(60)
        assert [worker.exitcode for worker in workers] == [-signal.SIGKILL, 0, 0, 0, 0]
    finally:
        for worker in workers:
            worker.kill()
            worker.join()
    states = Counter(state for (state,) in query("SELECT state FROM trials"))
    told = query(f"SELECT trial_id FROM trial_user_attributes WHERE key = '{REASON}'")
    assert states["COMPLETE"] + len(told) == WANTED
    lost = states["FAIL"] - len(told)
    assert lost >= 2  # on a busy machine, the heartbeats of another worker can be late, too
    assert states["RUNNING"] == states["WAITING"] == 0
    numbers = [int(number) for (number,) in query("SELECT number FROM trials ORDER BY number")]
    assert numbers == list(range(WANTED + lost))
    # No trial was run by two workers
    complete = {int(number) for (number,) in query("SELECT number FROM trials WHERE state = 'COMPLETE'")}
    done = Counter(int(path.name.partition(".")[0]) for path in tmp_path.glob("*.[0-9]*"))
    assert {number: count for number, count in done.items() if number in complete} == dict.fromkeys(complete, 1)


def test_five_workers_of_which_one_dies_and_one_sleeps(tmp_path: Path) -> None:
    five_workers(tmp_path, None, lambda text: rows(tmp_path, text))


@needs_postgresql
def test_five_workers_on_postgresql(tmp_path: Path, server: Server) -> None:
    five_workers(tmp_path, *server.database("five"))


def test_a_trial_that_kills_its_process_again_and_again_counts_as_failed(tmp_path: Path) -> None:
    storage = open_storage(settings(tmp_path))
    study = make_study(storage, "killer", "maximize")
    shared = SharedStudy(study, storage, wanted=1, retries=2)
    for _ in range(3):
        trial = shared._take()
        assert trial is not None
        assert shared._take() is None  # one is wanted, and one is running
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    assert shared._take() is None
    assert len(shared.tally().finished) == 1
    assert [
        crash_count
        for (crash_count,) in rows(tmp_path, "SELECT value_json FROM trial_user_attributes WHERE key = 'deaths'")
    ]


def test_fewer_trials_than_there_are_begin_none(tmp_path: Path) -> None:
    storage = open_storage(settings(tmp_path))
    study = make_study(storage, "shared", "maximize")
    quick = Quick(None, tmp_path)
    SharedStudy(study, storage, wanted=3, retries=0).work(quick)
    SharedStudy(study, storage, wanted=2, retries=0).work(quick)
    assert len(study.trials) == quick.done == 3
    SharedStudy(study, storage, wanted=5, retries=0).work(quick)
    assert len(study.trials) == 5
    SharedStudy(study, storage, wanted=9, retries=0).work(quick, deadline=time.monotonic())
    assert len(study.trials) == 5


@pytest.mark.parametrize(
    ("storage", "error", "message"),
    [
        ("foo://x", SettingError, r"search\.storage: got foo://...; must be sqlite:///FILE"),
        ("abc", SettingError, r"search\.storage: got abc; must be sqlite:///FILE"),
        ("sqlite://", SettingError, r"search\.storage: got sqlite://, which is lost when the process ends"),
        ("sqlite:////no/such/place/x.db", SettingError, r"search\.storage: .*: no folder /no/such/place"),
        ("postgresql+nix://u:secret@h/d", SettingError, r"search\.storage: got postgresql\+nix://...; must be"),
        ("mysql+pymysql://u:secret@h/d", SettingError, r"search\.storage: mysql\+pymysql needs the package pymysql"),
        ("postgresql://u:secret@127.0.0.1:1/d", DataError, r"search\.storage: .*u:\*\*\*@.*[Cc]onnection refused"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_line(
    tmp_path: Path, storage: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        open_storage(settings(tmp_path, storage))
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("this is text, and long enough to be read as one. " * 100)
    with pytest.raises(DataError, match=r"study\.db: file is not a database$"):
        open_storage(settings(tmp_path))


def test_a_call_is_repeated_after_an_outage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    storage, calls = open_storage(settings(tmp_path)), []

    def work() -> str:
        calls.append(time.monotonic())
        if len(calls) < 3:
            raise OperationalError("SELECT 1", {}, Exception("server closed the connection"))
        return "answer"

    assert storage.with_retries(work) == "answer"
    assert len(calls) == 3
    assert "server closed the connection; retrying for up to" in capsys.readouterr().out
    storage.timeout, calls[:] = 0.2, []
    with pytest.raises(StorageLostError, match=r"no answer for 0\.2 s \(gone\)"):
        storage.with_retries(lambda: (_ for _ in ()).throw(OperationalError("SELECT 1", {}, Exception("gone"))))
    with pytest.raises(ZeroDivisionError):
        storage.with_retries(lambda: 1 / 0)


def test_a_result_for_a_trial_that_another_worker_has_failed_is_dropped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = open_storage(settings(tmp_path))
    study = make_study(storage, "suspended", "maximize")
    values = iter((1.0, 2.0))

    def suspended(trial: optuna.Trial) -> float:
        if trial.number == 0:  # as another worker does that finds its heartbeats missing
            study.tell(0, state=optuna.trial.TrialState.FAIL)
        return next(values)

    SharedStudy(study, storage, wanted=1, retries=1).work(suspended)
    assert [trial.state.name for trial in study.trials] == ["FAIL", "COMPLETE"]
    assert study.best_value == 2.0
    assert "trial 0: missed its heartbeats; another trial repeats it" in capsys.readouterr().out


@pytest.mark.parametrize("signal", [KeyboardInterrupt, SystemExit])
def test_a_signal_leaves_no_running_trial(tmp_path: Path, signal: type[BaseException]) -> None:
    storage = open_storage(settings(tmp_path))
    study = make_study(storage, "interrupted", "maximize")

    def interrupted(trial: optuna.Trial) -> float:
        raise signal

    with pytest.raises(signal):
        SharedStudy(study, storage, wanted=1, retries=1).work(interrupted)
    assert [trial.state.name for trial in study.trials] == ["FAIL"]


def test_heartbeats_are_recorded_while_a_trial_runs(tmp_path: Path) -> None:
    storage = open_storage(settings(tmp_path))
    study = make_study(storage, "beating", "maximize")
    recorded: list[int] = []
    record = storage.record_heartbeat

    def counted(trial_id: int) -> None:
        recorded.append(trial_id)
        record(trial_id)

    storage.record_heartbeat = counted  # type: ignore[method-assign]

    def long(trial: optuna.Trial) -> float:
        deadline = time.monotonic() + 30
        while len(recorded) < 2:  # one each second
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return 0.0

    SharedStudy(study, storage, wanted=1, retries=1).work(long)
    assert not [thread for thread in threading.enumerate() if "(record)" in thread.name]  # named after its function
