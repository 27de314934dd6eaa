"""The database that the workers of a study share: retries during an outage, a lock, and heartbeats.

Built on Optuna's public interface alone. tests/search/test_public_interface.py checks that for the whole folder.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import optuna
import sqlalchemy
from filelock import FileLock
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import exc

from lenet_pl.errors import DataError

R = TypeVar("R")

LOCK = "lenet_pl lock"  # user attribute of a study; a server locks its row


class StorageLostError(DataError):
    """The database did not answer within the time limit."""


class StudyStorage:
    """A database that several workers share.

    Args:
        backend: The opened database.
        timeout: The time limit for an outage, in seconds.
        place: The URL without its password, for messages.
        file_lock: The lock next to an sqlite file; None for a server.
    """

    def __init__(self, backend: RDBStorage, timeout: float, place: str, file_lock: FileLock | None) -> None:
        self.backend, self.timeout, self.place, self.file_lock = backend, timeout, place, file_lock

    def with_retries(self, work: Callable[[], R]) -> R:
        """Call a function that uses the database; call it again after an outage.

        Args:
            work: The function. It must be safe to repeat from its start.

        Returns:
            The result of `work`.

        Raises:
            StorageLostError: The outage lasts longer than `timeout` seconds.
        """
        start, pause = time.monotonic(), 0.1
        while True:
            try:
                return work()
            except Exception as error:
                if not is_outage(error):
                    raise
                left = start + self.timeout - time.monotonic()
                if left <= 0:
                    waited = f"no answer for {self.timeout:g} s" if self.timeout else "no answer"
                    raise StorageLostError(
                        f"search.storage: {self.place}: {waited} ({reason(error)}); finished trials are kept, "
                        "use the same command to resume"
                    ) from None
                if pause == 0.1:
                    print(f"{self.place}: {reason(error)}; retrying for up to {self.timeout:g} s", flush=True)
            time.sleep(min(pause, left))
            pause = min(2 * pause, 5.0)

    def study_id(self, study: optuna.Study) -> int:
        """Return the primary key of a study in the database."""
        return self.backend.get_study_id_from_name(study.study_name)

    @contextlib.contextmanager
    def study_lock(self, study: optuna.Study) -> Iterator[None]:
        """Exclude all other workers, on every machine, from the same block; for short work only.

        `with_retries` must repeat the block as a whole, never a single call inside it.
        """
        if self.file_lock:
            with self.file_lock:
                yield
            return
        table = sqlalchemy.table("study_user_attributes", *map(sqlalchemy.column, ("study_id", "key", "value_json")))
        row = sqlalchemy.select(table.c.value_json).where(table.c.study_id == self.study_id(study), table.c.key == LOCK)
        with self.backend.engine.begin() as connection:
            connection.execute(row.with_for_update()).one()
            yield

    def record_heartbeat(self, trial_id: int) -> None:
        """Record that the process of a trial is alive; an outage is ignored, as the next heartbeat follows soon."""
        with contextlib.suppress(exc.SQLAlchemyError, StorageInternalError):
            self.backend.record_heartbeat(trial_id)

    @contextlib.contextmanager
    def heartbeats(self, trial_id: int) -> Iterator[None]:
        """Record heartbeats of a trial in a thread, as `Study.optimize` does, until the block ends."""
        stop, interval = threading.Event(), self.backend.get_heartbeat_interval()

        def record() -> None:
            while not stop.wait(interval):
                self.record_heartbeat(trial_id)

        thread = threading.Thread(target=record, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def is_outage(error: BaseException) -> bool:
    """Return whether the database did not answer, in contrast to an invalid query."""
    causes = [error, error.__cause__]
    away = (exc.OperationalError, exc.InterfaceError, exc.TimeoutError)
    return any(isinstance(c, away) or getattr(c, "connection_invalidated", False) for c in causes)


def reason(error: BaseException) -> str:
    """Return the message of the database driver on one line, without Optuna's and SQLAlchemy's additions."""
    if isinstance(error, StorageInternalError) and error.__cause__:
        error = error.__cause__
    message = error.strerror if isinstance(error, OSError) else getattr(error, "orig", None)
    return " ".join(str(message or error).split())[:200]
