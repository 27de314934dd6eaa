"""Which database holds a study, and how it is opened; one line for each mistake."""

from __future__ import annotations

import contextlib
import time
import warnings
from pathlib import Path
from typing import Any

import sqlalchemy
from filelock import FileLock
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import exc
from sqlalchemy.engine import URL, make_url

from lenet_pl.errors import DataError, SettingError
from lenet_pl.settings.search import SearchSettings
from lenet_pl.study.storage import StudyStorage, reason

ACCEPTED = "sqlite:///FILE, postgresql://USER:PASSWORD@HOST/DATABASE or mysql://..."
# Where the URL names none: SQLAlchemy has defaults of its own, which change with its version
DRIVERS = {"postgresql": "psycopg", "mysql": "pymysql", "mariadb": "pymysql"}
CONNECT = {"connect_timeout": 10}  # s
BUSY = 60  # s that a worker waits for another one's write to sqlite
RACES = (exc.IntegrityError, exc.ProgrammingError, StorageInternalError)


def storage_url(settings: SearchSettings) -> URL:
    """Say which database is meant.

    Raises:
        SettingError: it is none that can hold a study, or its driver is not installed.
    """
    given = settings.search.storage
    if given is None:
        return URL.create("sqlite", database=str(Path(settings.run) / "study.db"))
    try:
        url = make_url(given)
    except (exc.ArgumentError, ValueError):
        shown = given.partition("@")[0] if "@" not in given else "a text that is no URL"  # it may hold a password
        raise SettingError(f"search.storage: got {shown}; accepted is {ACCEPTED}") from None
    backend = url.get_backend_name()
    if backend not in ("sqlite", "postgresql", "mysql", "mariadb"):
        raise SettingError(f"search.storage: got {url.drivername}://...; accepted is {ACCEPTED}")
    if backend == "sqlite" and (url.database in (None, "", ":memory:") or "mode=memory" in given):
        raise SettingError(f"search.storage: got {given}, which ends with the process; accepted is {ACCEPTED}")
    if url.drivername in DRIVERS:
        url = url.set(drivername=f"{url.drivername}+{DRIVERS[url.drivername]}")
    try:
        url.get_dialect().import_dbapi()
    except exc.NoSuchModuleError:
        raise SettingError(f"search.storage: got {url.drivername}://...; accepted is {ACCEPTED}") from None
    except ImportError as error:
        hint = "pip install 'lenet_pl[postgresql]'" if error.name == "psycopg" else f"pip install {error.name}"
        raise SettingError(f"search.storage: {url.drivername} needs the package {error.name}; {hint}") from None
    return url


def open_storage(settings: SearchSettings) -> StudyStorage:
    """Connect to the database, and make its tables where there are none.

    Raises:
        SettingError: it is none that can hold a study, or its driver is not installed.
        DataError: it does not answer, or is damaged.
    """
    url, given = storage_url(settings), settings.search
    place = url.render_as_string(hide_password=True)
    sqlite = url.get_backend_name() == "sqlite"
    # isolation_level None: transactions begin where BEGIN IMMEDIATE says so, not at the first write
    connect = {"timeout": BUSY, "isolation_level": None} if sqlite else CONNECT
    lock = FileLock(f"{url.database}.lock") if sqlite else None
    if sqlite and not (parent := Path(str(url.database)).parent).is_dir():  # which the lock would make
        raise SettingError(f"search.storage: {place}: no folder {parent}; accepted is a file in a folder that is there")
    try:
        with lock or contextlib.nullcontext():  # two workers that make the tables at once would disturb each other
            backend = _open(url, {"connect_args": connect, "pool_pre_ping": not sqlite}, settings)
    except (exc.SQLAlchemyError, StorageInternalError, OSError, RuntimeError) as error:
        raise DataError(f"search.storage: {place}: {reason(error)}") from None
    if sqlite:
        sqlalchemy.event.listen(backend.engine, "begin", lambda c: c.exec_driver_sql("BEGIN IMMEDIATE"))
    return StudyStorage(backend, given.patience, place, lock)


def _open(url: URL, engine: dict[str, Any], settings: SearchSettings) -> RDBStorage:
    """Open the database; again if another machine makes the same tables at this moment."""
    given = settings.search
    text = url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")  # Optuna fills in braces
    for attempt in range(5):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)  # the heartbeat is one since 2.9
                return RDBStorage(text, engine, heartbeat_interval=given.heartbeat, grace_period=given.grace)
        except RACES:
            if attempt == 4:
                raise
            time.sleep(0.3 * (attempt + 1))
    raise AssertionError
