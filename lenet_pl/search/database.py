"""Choose and open the database of a study; each error is one line without passwords."""

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
from lenet_pl.search.storage import StudyStorage, reason
from lenet_pl.settings.search import SearchSettings

ACCEPTED = "sqlite:///FILE, postgresql://USER:PASSWORD@HOST/DATABASE or mysql://..."
# For URLs without a driver: SQLAlchemy's defaults change with its version
DRIVERS = {"postgresql": "psycopg", "mysql": "pymysql", "mariadb": "pymysql"}
CONNECT = {"connect_timeout": 10}  # s
BUSY = 60  # s that a worker waits for another one's write to sqlite
RACES = (exc.IntegrityError, exc.ProgrammingError, StorageInternalError)


def storage_url(settings: SearchSettings) -> URL:
    """Build the URL of the database.

    Raises:
        SettingError: The database cannot hold a study, or its driver is not installed.
    """
    given = settings.search.storage
    if given is None:
        return URL.create("sqlite", database=str(Path(settings.run) / "study.db"))
    try:
        url = make_url(given)
    except (exc.ArgumentError, ValueError):
        shown = given if "@" not in given else "a value that is not a URL"  # it may contain a password
        raise SettingError(f"search.storage: got {shown}; must be {ACCEPTED}") from None
    backend = url.get_backend_name()
    if backend not in ("sqlite", "postgresql", "mysql", "mariadb"):
        raise SettingError(f"search.storage: got {url.drivername}://...; must be {ACCEPTED}")
    if backend == "sqlite" and (url.database in (None, "", ":memory:") or "mode=memory" in given):
        raise SettingError(f"search.storage: got {given}, which is lost when the process ends; must be {ACCEPTED}")
    if url.drivername in DRIVERS:
        url = url.set(drivername=f"{url.drivername}+{DRIVERS[url.drivername]}")
    try:
        url.get_dialect().import_dbapi()
    except exc.NoSuchModuleError:
        raise SettingError(f"search.storage: got {url.drivername}://...; must be {ACCEPTED}") from None
    except ImportError as error:
        hint = "pip install 'lenet_pl[postgresql]'" if error.name == "psycopg" else f"pip install {error.name}"
        raise SettingError(f"search.storage: {url.drivername} needs the package {error.name}; {hint}") from None
    return url


def open_storage(settings: SearchSettings) -> StudyStorage:
    """Connect to the database, and create its tables if they are missing.

    Raises:
        SettingError: The database cannot hold a study, or its driver is not installed.
        DataError: The database does not answer, or is corrupt.
    """
    url, given = storage_url(settings), settings.search
    place = url.render_as_string(hide_password=True)
    sqlite = url.get_backend_name() == "sqlite"
    # isolation_level None: transactions start with BEGIN IMMEDIATE below, not at the first write, where two workers
    # that have read before could block each other
    connect = {"timeout": BUSY, "isolation_level": None} if sqlite else CONNECT
    lock = FileLock(f"{url.database}.lock") if sqlite else None
    if sqlite and not (parent := Path(str(url.database)).parent).is_dir():  # FileLock would create it
        raise SettingError(f"search.storage: {place}: no folder {parent}; must be a file in an existing folder")
    try:
        with lock or contextlib.nullcontext():  # two workers must not create the tables at the same time
            backend = _open(url, {"connect_args": connect, "pool_pre_ping": not sqlite}, settings)
    except (exc.SQLAlchemyError, StorageInternalError, OSError, RuntimeError) as error:
        raise DataError(f"search.storage: {place}: {reason(error)}") from None
    if sqlite:
        sqlalchemy.event.listen(backend.engine, "begin", lambda c: c.exec_driver_sql("BEGIN IMMEDIATE"))
    return StudyStorage(backend, given.storage_timeout, place, lock)


def _open(url: URL, engine: dict[str, Any], settings: SearchSettings) -> RDBStorage:
    """Open the database; retry if another machine is creating the same tables."""
    given = settings.search
    text = url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")  # Optuna formats the URL
    for attempt in range(5):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)  # heartbeats are experimental since Optuna 2.9
                return RDBStorage(
                    text, engine, heartbeat_interval=given.heartbeat_interval, grace_period=given.grace_period
                )
        except RACES:
            if attempt == 4:
                raise
            time.sleep(0.3 * (attempt + 1))
    raise AssertionError
