"""The database of a study: opened with one line per mistake, exact with many workers, patient while it is away."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

import optuna
import sqlalchemy
from filelock import FileLock
from optuna.exceptions import ExperimentalWarning, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage, _CachedStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import exc

from lenet_pl.errors import DataError

P = ParamSpec("P")
R = TypeVar("R")

LOCK = "lenet_pl lock"  # attribute of a study whose row is locked


class NoTrialLeftError(Exception):
    """There is no trial left to take."""


class StorageLostError(DataError):
    """The database has not answered for too long."""


def _patient(method: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Any, P], R]:
    """Repeat one call of Optuna's on the database until it answers; all of these can be repeated."""

    def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.patiently(lambda: method(self, *args, **kwargs))  # type: ignore[no-any-return]

    return call


class StudyStorage(_CachedStorage):
    """Optuna's database, with what several workers need to share a study exactly.

    - No trial comes into being by asking for one: `Study.ask` takes a waiting trial or raises NoTrialLeftError. Trials
      are made by `SharedStudy` alone, inside `exclusive`.
    - Taking a waiting trial is one transaction that others wait for. Optuna locks the row on a server; sqlite knows no
      such lock, so that two workers could take the same trial: there every transaction begins with BEGIN IMMEDIATE.
    - A sign of life is left before a trial is taken, for Optuna passes over running trials without any, and a worker
      that dies in between would leave its trial running for ever.
    - A call that meets no database is repeated with growing pauses, then StorageLostError is raised.

    Args:
        backend: the opened database.
        patience: s for which a call is repeated.
        place: the URL as it may be shown.
        file_lock: lock beside a sqlite file; None on a server.
    """

    def __init__(self, backend: RDBStorage, patience: float, place: str, file_lock: FileLock | None) -> None:
        super().__init__(backend)
        self.engine, self.patience, self.place, self.file_lock = backend.engine, patience, place, file_lock
        self._inside = self._lost = False

    def patiently(self, work: Callable[[], R]) -> R:
        """Do something on the database, again from its beginning if the database goes away meanwhile.

        Raises:
            StorageLostError: for `patience` seconds there was no answer.
        """
        if self._inside:  # part of something that is repeated as a whole
            return work()
        begin, pause = time.monotonic(), 0.1
        while True:
            try:
                self._inside = True
                return work()
            except Exception as error:
                if not is_outage(error):
                    raise
                left = begin + self.patience - time.monotonic()
                if left <= 0 or self._lost:  # what follows the first defeat need not wait again
                    self._lost = True
                    waited = f"no answer for {self.patience:g} s" if self.patience else "no answer"
                    raise StorageLostError(
                        f"search.storage: {self.place}: {waited} ({reason(error)}); finished trials are kept there, "
                        "the same command continues"
                    ) from None
                if pause == 0.1:
                    print(f"{self.place}: {reason(error)}; asking for up to {self.patience:g} s", flush=True)
            finally:
                self._inside = False
            time.sleep(min(pause, left))
            pause = min(2 * pause, 5.0)

    @contextlib.contextmanager
    def exclusive(self, study_id: int) -> Iterator[None]:
        """Keep every other worker, on whatever machine, out of the same block meanwhile; for short work only.

        Not to be repeated piecewise: what it protects is repeated as a whole by `patiently`.
        """
        if self.file_lock:
            with self.file_lock:
                yield
            return
        table = sqlalchemy.table("study_user_attributes", *map(sqlalchemy.column, ("study_id", "key", "value_json")))
        row = sqlalchemy.select(table.c.value_json).where(table.c.study_id == study_id, table.c.key == LOCK)
        with self.engine.begin() as connection:
            connection.execute(row.with_for_update()).one()
            yield

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        if template_trial is None:
            raise NoTrialLeftError
        return super().create_new_trial(study_id, template_trial)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        attempts = 0

        def change() -> bool:
            nonlocal attempts
            attempts += 1
            if state == TrialState.RUNNING:
                self._backend.record_heartbeat(trial_id)
            try:
                return super(StudyStorage, self).set_trial_state_values(trial_id, state, values)
            except UpdateFinishedTrialError:
                if attempts > 1 and self._backend.get_trial(trial_id).state == state:
                    return True  # the first attempt had done it, only its answer was lost
                raise

        return self.patiently(change)

    def record_heartbeat(self, trial_id: int) -> None:
        # Runs in a thread of its own, which has nobody to report to; the next sign of life comes soon
        with contextlib.suppress(exc.SQLAlchemyError, StorageInternalError):
            super().record_heartbeat(trial_id)

    get_study_id_from_name = _patient(_CachedStorage.get_study_id_from_name)
    get_study_name_from_id = _patient(_CachedStorage.get_study_name_from_id)
    get_study_directions = _patient(_CachedStorage.get_study_directions)
    get_study_user_attrs = _patient(_CachedStorage.get_study_user_attrs)
    get_study_system_attrs = _patient(_CachedStorage.get_study_system_attrs)
    set_study_user_attr = _patient(_CachedStorage.set_study_user_attr)
    set_study_system_attr = _patient(_CachedStorage.set_study_system_attr)
    get_trial = _patient(_CachedStorage.get_trial)
    get_all_trials = _patient(_CachedStorage.get_all_trials)
    get_best_trial = _patient(_CachedStorage.get_best_trial)
    get_trial_id_from_study_id_trial_number = _patient(_CachedStorage.get_trial_id_from_study_id_trial_number)
    set_trial_param = _patient(_CachedStorage.set_trial_param)
    set_trial_intermediate_value = _patient(_CachedStorage.set_trial_intermediate_value)
    set_trial_user_attr = _patient(_CachedStorage.set_trial_user_attr)
    set_trial_system_attr = _patient(_CachedStorage.set_trial_system_attr)
    _get_stale_trial_ids = _patient(_CachedStorage._get_stale_trial_ids)


def fail_stale_trials(study: optuna.Study) -> None:
    """Mark trials without a sign of life as failed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)


def is_outage(error: BaseException) -> bool:
    """Say whether the database did not answer, as against a mistake in what it was asked."""
    causes = [error, error.__cause__]
    away = (exc.OperationalError, exc.InterfaceError, exc.TimeoutError)
    return any(isinstance(c, away) or getattr(c, "connection_invalidated", False) for c in causes)


def reason(error: BaseException) -> str:
    """What the database's driver says, on one line and without Optuna's and SQLAlchemy's words around it."""
    if isinstance(error, StorageInternalError) and error.__cause__:
        error = error.__cause__
    said = error.strerror if isinstance(error, OSError) else getattr(error, "orig", None)
    return " ".join(str(said or error).split())[:200]
