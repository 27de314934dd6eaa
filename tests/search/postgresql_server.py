"""A PostgreSQL server of the tests' own, in a temporary folder."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SERVERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
Query = Callable[[str], list[tuple[Any, ...]]]
needs_postgresql = pytest.mark.skipif(not SERVERS, reason="needs a server from Debian's package postgresql")


@dataclass
class Server:
    """A PostgreSQL server of our own."""

    bin: Path
    place: Path
    port: int
    user: list[str]

    def run(self, program: str, *arguments: str) -> str:
        line = [*self.user, str(self.bin / program), *arguments]
        done = subprocess.run(line, cwd=self.place, capture_output=True, text=True, check=True)
        return done.stdout

    def start(self) -> None:
        options = f"-p {self.port} -k {self.place} -c listen_addresses=127.0.0.1 -c fsync=off"
        line = [*self.user, str(self.bin / "pg_ctl"), "-D", str(self.place / "data"), "-w", "-o", options]
        subprocess.run(
            [*line, "-l", str(self.place / "log"), "start"], cwd=self.place, check=True, stdout=subprocess.DEVNULL
        )

    def stop(self) -> None:
        self.run("pg_ctl", "-D", str(self.place / "data"), "-m", "immediate", "stop")

    def database(self, name: str) -> tuple[str, Query]:
        where = ("-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres")
        self.run("createdb", *where, name)

        def query(text: str) -> list[tuple[Any, ...]]:
            lines = self.run("psql", *where, "-d", name, "-qAt", "-F", "\t", "-c", text).splitlines()
            return [tuple(line.split("\t")) for line in lines]

        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}", query


@contextlib.contextmanager
def running_server() -> Iterator[Server]:
    root = os.getuid() == 0  # as whom the server refuses to run; another may not reach root's temporary folder
    place = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp" if root else None))
    user: list[str] = []
    if root:
        shutil.chown(place, "postgres")
        user = ["setpriv", f"--reuid={pwd.getpwnam('postgres').pw_uid}", "--regid=postgres", "--clear-groups", "--"]
    with socket.socket() as some:
        some.bind(("127.0.0.1", 0))
        port = some.getsockname()[1]
    server = Server(SERVERS[-1], place, port, user)
    server.run("initdb", "-D", str(place / "data"), "-U", "postgres", "--auth=trust", "--no-sync")
    server.start()
    yield server
    with contextlib.suppress(subprocess.CalledProcessError):
        server.stop()
    shutil.rmtree(place)
