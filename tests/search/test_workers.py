import contextlib
import csv
import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from postgresql_server import Query, Server, needs_postgresql, running_server

TINY = (
    *("data=digits", "trainer.max_epochs=3", "trainer.limit_train_batches=2", "trainer.num_threads=1"),
    *(
        "search.pruner.n_startup_trials=2",
        "search.heartbeat_interval=1",
        "search.grace_period=6",
        "search.study_name=tiny",
    ),
)
WANTED = 24


class Worker:
    """One process of a search."""

    def __init__(self, place: Path, environment: dict[str, str], *arguments: str) -> None:
        self.out, self.err = (place / f"{time.monotonic_ns()}.{name}" for name in ("out", "err"))
        keys = {argument.partition("=")[0] for argument in arguments}  # a key must not be given twice
        defaults = [setting for setting in TINY if setting.partition("=")[0] not in keys]
        line = [sys.executable, "-m", "lenet_pl.search", *defaults, *arguments]
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(line, cwd=place, env=environment, stdout=out, stderr=err)

    def end(self, seconds: float = 240) -> int:
        try:
            return self.process.wait(seconds)
        finally:
            self.process.kill()

    def kill_in_a_trial(self, running: Callable[[], int], workers: int) -> None:
        """Kill -9 while all workers have a trial under way; it is stopped while that is looked up."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.err.read_text()
            self.process.send_signal(signal.SIGSTOP)
            with contextlib.suppress(sqlite3.OperationalError):
                if "\ntrial " in self.out.read_text() and running() == workers:
                    self.process.kill()
                    self.process.wait()
                    return
            self.process.send_signal(signal.SIGCONT)
            time.sleep(0.1)
        raise AssertionError("never in a trial")


def sqlite_query(path: Path) -> Query:
    def query(text: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(path, timeout=1)) as connection:
            return connection.execute(text).fetchall()

    return query


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as server:
        yield server


def counts(query: Query) -> Counter[str]:
    return Counter(str(state) for (state,) in query("SELECT state FROM trials"))


def check_the_study(query: Query, folder: Path, wanted: int) -> None:
    """The database, read without Optuna, against the folders of the trials and what was written at the end."""
    states = counts(query)
    attributes = query("SELECT trials.number, key, value_json FROM trial_user_attributes JOIN trials USING (trial_id)")
    failed = {int(n) for (n,) in query("SELECT number FROM trials WHERE state = 'FAIL'")}
    own = {int(number) for number, key, _ in attributes if key == "reason"}
    lost = failed - own
    assert states["COMPLETE"] + states["PRUNED"] + len(own) == wanted
    assert states["RUNNING"] == states["WAITING"] == 0
    # Each lost trial was begun again once, with what it had drawn
    again = {int(number): int(value) for number, key, value in attributes if key == "retry_of"}
    assert sorted(again.values()) == sorted(lost)
    drawn = query("SELECT number, param_name, param_value FROM trial_params JOIN trials USING (trial_id)")
    values = {(int(number), str(name)): float(value) for number, name, value in drawn}
    for repeat, original in again.items():
        for (number, name), value in values.items():
            assert number != original or values[repeat, name] == value
    # Numbers are used once, and a folder is of one trial
    numbers = [int(n) for (n,) in query("SELECT number FROM trials")]
    assert sorted(numbers) == list(range(wanted + len(lost)))
    assert {int(path.name) for path in (folder / "trials").iterdir()} <= set(numbers)
    complete = {
        int(number): float(value)
        for number, value in query(
            "SELECT number, value FROM trials JOIN trial_values USING (trial_id) WHERE state = 'COMPLETE'"
        )
    }
    for number, value in complete.items():
        results = json.loads((folder / "trials" / str(number) / "results.json").read_text())
        assert results["metrics"]["best/val/accuracy"] == pytest.approx(value)
        assert not any(key.startswith("test/") for key in results["metrics"])
        assert results["images"]["test"] == 0
    # What the pruner was told is what the epochs' files say
    told: dict[int, dict[int, float]] = {}
    for number, step, value in query(
        "SELECT number, step, intermediate_value FROM trials JOIN trial_intermediate_values USING (trial_id) "
        "WHERE state IN ('COMPLETE', 'PRUNED')"
    ):
        told.setdefault(int(number), {})[int(step)] = float(value)
    for number, values_by_epoch in told.items():
        with (folder / "trials" / str(number) / "metrics.csv").open(newline="") as stream:
            epochs = [float(row["val/accuracy"]) for row in csv.DictReader(stream)]
        assert [values_by_epoch[epoch + 1] for epoch in range(len(epochs))] == pytest.approx(epochs, abs=1e-6)
    found = json.loads((folder / "results.json").read_text())
    assert found["task"] == "search"
    assert found["best"]["value"] == pytest.approx(max(complete.values()))
    assert complete[found["best"]["trial"]] == pytest.approx(max(complete.values()))
    tally = {key: found["trials"][key] for key in ("complete", "pruned", "failed", "lost")}
    assert tally == {"complete": states["COMPLETE"], "pruned": states["PRUNED"], "failed": len(own), "lost": len(lost)}
    with (folder / "trials.csv").open(newline="") as stream:
        assert [int(row["number"]) for row in csv.DictReader(stream)] == sorted(numbers)


def search_with_a_death(query: Query, place: Path, environment: dict[str, str], *arguments: str) -> None:
    """Two workers, one of which is killed in a trial."""
    asked = (f"search.n_trials={WANTED}", *arguments)
    workers = [Worker(place, environment, *asked) for _ in range(2)]

    def running() -> int:
        return len(query("SELECT 1 FROM trials WHERE state = 'RUNNING'"))

    try:
        workers[0].kill_in_a_trial(running, 2)
        assert workers[1].end() == 0, workers[1].err.read_text()
    finally:
        for worker in workers:
            worker.process.kill()
    folder = place / "runs" / "search" / "tiny"
    check_the_study(query, folder, WANTED)
    assert counts(query)["FAIL"] >= 1
    assert counts(query)["PRUNED"] >= 1


@pytest.mark.long
def test_two_workers_on_sqlite_one_killed(tmp_path: Path, command_environment: dict[str, str]) -> None:
    query = sqlite_query(tmp_path / "runs" / "search" / "tiny" / "study.db")
    search_with_a_death(query, tmp_path, command_environment)
    rows = counts(query)
    repeat = Worker(tmp_path, command_environment, f"search.n_trials={WANTED}")
    assert repeat.end() == 0
    assert f"{WANTED} of {WANTED} trials finished" in repeat.out.read_text()
    assert counts(query) == rows
    folder = tmp_path / "runs" / "search" / "tiny"
    names = {path.name for path in folder.iterdir()}
    assert names >= {"optimization_history.png", "parallel_coordinate.png", "experiment"}
    values = query("SELECT value FROM trials JOIN trial_values USING (trial_id) WHERE state = 'COMPLETE'")
    enough = len(values) >= 4 and len(set(values)) >= 2  # how many are pruned is a matter of chance
    assert ("param_importances.png" in names) == enough


@pytest.mark.long
@needs_postgresql
def test_two_workers_on_postgresql_one_killed(
    tmp_path: Path, command_environment: dict[str, str], server: Server
) -> None:
    url, query = server.database("killed")
    search_with_a_death(query, tmp_path, command_environment, f"search.storage={url}")


@pytest.mark.long
@needs_postgresql
def test_postgresql_goes_away_for_a_moment_and_for_good(
    tmp_path: Path, command_environment: dict[str, str], server: Server
) -> None:
    url, query = server.database("away")
    asked = (f"search.storage={url}", "search.n_trials=16", "search.storage_timeout=6", "search.grace_period=60")
    worker = Worker(tmp_path, command_environment, *asked)

    def wait_for(trials: int) -> None:
        deadline = time.monotonic() + 120
        while sum(line.startswith("trial ") for line in worker.out.read_text().splitlines()) < trials:
            assert worker.process.poll() is None, worker.err.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)

    try:
        wait_for(2)
        server.stop()
        time.sleep(1.5)
        server.start()
        wait_for(5)
        before = counts(query)
        server.stop()
        try:
            assert worker.end(60) == 1
        finally:
            server.start()
    finally:
        worker.process.kill()
    (line,) = worker.err.read_text().splitlines()
    assert line.startswith("error: search.storage: postgresql+psycopg://postgres@127.0.0.1")
    assert "no answer for 6 s" in line
    after = counts(query)
    assert after["COMPLETE"] >= before["COMPLETE"] >= 1
    again = Worker(tmp_path, command_environment, *asked[:-1], "search.grace_period=3")
    assert again.end() == 0, again.err.read_text()
    check_the_study(query, tmp_path / "runs" / "search" / "tiny", 16)


def test_a_mistake_is_one_line_and_leaves_nothing(tmp_path: Path, command_environment: dict[str, str]) -> None:
    worker = Worker(tmp_path, command_environment, "search.space.optimizer.lr.low=7")
    assert worker.end() == 2
    (line,) = worker.err.read_text().splitlines()
    assert line == "error: search.space.optimizer.lr: low=7, high=0.03 is reversed; must be low < high"
    assert {path.name for path in tmp_path.iterdir()} == {worker.out.name, worker.err.name}


@pytest.mark.long
def test_ctrl_c_gives_the_trial_back(tmp_path: Path, command_environment: dict[str, str]) -> None:
    asked = ("search.n_trials=2", "search.pruner.name=none")
    folder = tmp_path / "runs" / "search" / "tiny"
    worker = Worker(tmp_path, command_environment, *asked, "trainer.max_epochs=100000", "callbacks.early_stopping=null")
    deadline = time.monotonic() + 120
    while not (folder / "trials" / "0" / "metrics.csv").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    worker.process.send_signal(signal.SIGINT)
    assert worker.end(60) == 130
    assert "error: interrupted; search is not finished" in worker.err.read_text()
    query = sqlite_query(folder / "study.db")
    assert counts(query) == {"FAIL": 1}
    assert ("interrupted", "true") in query("SELECT key, value_json FROM trial_user_attributes")
