import functools
import gzip
import hashlib
import http.server
import io
import os
import pickle
import subprocess
import sys
import tarfile
import threading
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from promise import case
from quiet_server import QuietServer

from lenet_pl.data.download import read_files
from lenet_pl.data.published import DataFile, PublishedDataset
from lenet_pl.errors import DataError

RAW = {"a": b"first file " * 50, "b": b"second file " * 50}
GZ = {name: gzip.compress(content, mtime=0) for name, content in RAW.items()}
NOWHERE = "http://127.0.0.1:1/"  # nothing listens


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


A = DataFile("a.gz", sha256(RAW["a"]), sha256_of_raw=True)
B = DataFile("b.gz", sha256(GZ["b"]))
TINY = PublishedDataset(folder="Tiny", url=NOWHERE, train=(A,), test=(B,), classes=("x", "y"))


def read(published: PublishedDataset, root: Path, download: bool = True) -> list[bytes]:
    return read_files("tiny", published, (*published.train, *published.test), root, download=download)


def refused(published: PublishedDataset, root: Path, download: bool = True) -> str:
    with pytest.raises(DataError) as error:
        read(published, root, download)
    assert "\n" not in str(error.value)
    return str(error.value)


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


class Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]


Serve = Callable[..., QuietServer]


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    servers = []

    def _serve(handler: Any = Files) -> QuietServer:
        if handler is Files:
            handler = functools.partial(Files, directory=str(tmp_path / "mirror"))
        server = QuietServer(("127.0.0.1", 0), handler)
        server.asked = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return server

    yield _serve
    for server in servers:
        server.shutdown()
        server.server_close()


def mirrored(
    serve: Serve, tmp_path: Path, published: PublishedDataset = TINY, **files: bytes
) -> tuple[PublishedDataset, list[str]]:
    for name, content in (files or {"a.gz": GZ["a"], "b.gz": GZ["b"]}).items():
        put(tmp_path / "mirror" / name, content)
    server = serve()
    return replace(published, url=f"http://127.0.0.1:{server.server_port}/"), server.asked  # type: ignore[attr-defined]


# --------------------------------------------------------------------------------------------------------- on the disk


PLACES = ["root/Tiny/raw/a.gz", "root/Tiny/raw/a", "root/Tiny/a.gz", "root/Tiny/a", "system/a.gz", "system/a"]


def place(tmp_path: Path, where: str, content: bytes) -> Path:
    return put(tmp_path / where, gzip.compress(content) if where.endswith(".gz") else content)


@pytest.mark.parametrize("first", range(len(PLACES)))
def test_files_are_taken_from_the_first_place_that_has_them(first: int, tmp_path: Path) -> None:
    published = replace(TINY, test=(), system_dir=tmp_path / "system")
    place(tmp_path, PLACES[first], RAW["a"])
    for other in PLACES[first + 1 :]:
        place(tmp_path, other, b"another content")
    assert read(published, tmp_path / "root", download=False) == [RAW["a"]]


@pytest.mark.parametrize("first", range(len(PLACES)))
def test_a_wrong_file_is_named_and_nothing_else_is_taken_instead(first: int, tmp_path: Path) -> None:
    published = replace(TINY, test=(), system_dir=tmp_path / "system")
    wrong = place(tmp_path, PLACES[first], b"another content")
    for other in PLACES[first + 1 :]:
        place(tmp_path, other, RAW["a"])
    message = refused(published, tmp_path / "root")
    assert message.startswith(f"{wrong}: wrong content")
    assert sha256(b"another content")[:12] in message
    assert A.sha256[:12] in message


def test_a_digest_of_the_published_file_refuses_another_compression(tmp_path: Path) -> None:
    put(tmp_path / "Tiny/a.gz", gzip.compress(RAW["a"], 1))
    other = put(tmp_path / "Tiny/b.gz", gzip.compress(RAW["b"], 1))
    assert refused(TINY, tmp_path, download=False).startswith(f"{other}: wrong content")


@pytest.mark.parametrize("keep", [0, 2, 10, len(GZ["a"]) // 2, len(GZ["a"]) - 1])
def test_truncated_gz_is_named(keep: int, tmp_path: Path) -> None:
    path = put(tmp_path / "Tiny/raw/a.gz", GZ["a"][:keep])
    assert refused(replace(TINY, test=()), tmp_path).startswith(f"{path}: ")


def test_absent_files_offline_say_what_to_put_where_and_what_else_works(tmp_path: Path) -> None:
    published = replace(TINY, system_dir=tmp_path / "system", system_package="dataset-tiny")
    message = refused(published, tmp_path / "sets")
    for part in ("data=tiny", "a.gz, b.gz", NOWHERE, f"{tmp_path}/sets/Tiny", "package dataset-tiny", "data=digits"):
        assert part in message


def test_only_missing_files_are_asked_for(tmp_path: Path) -> None:
    put(tmp_path / "Tiny/raw/a.gz", GZ["a"])
    message = refused(TINY, tmp_path)
    assert "put b.gz from" in message


def test_download_false_never_opens_a_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", lambda *args, **kwargs: pytest.fail("connection"))
    assert "(data.download=false)" in refused(TINY, tmp_path, download=False)
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------------------ download


def test_download_puts_verified_files_and_leaves_no_part(serve: Serve, tmp_path: Path) -> None:
    published, asked = mirrored(serve, tmp_path)
    assert read(published, tmp_path / "root") == [RAW["a"], RAW["b"]]
    assert {p.name for p in (tmp_path / "root/Tiny/raw").iterdir()} - {".lock"} == {"a.gz", "b.gz"}
    assert read(published, tmp_path / "root") == [RAW["a"], RAW["b"]]
    assert asked == ["/a.gz", "/b.gz"]  # the second reading found them


def test_download_fetches_only_what_is_missing(serve: Serve, tmp_path: Path) -> None:
    published, asked = mirrored(serve, tmp_path)
    put(tmp_path / "root/Tiny/a", RAW["a"])
    assert read(published, tmp_path / "root") == [RAW["a"], RAW["b"]]
    assert asked == ["/b.gz"]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(gzip.compress(b"another"), id="another content"),
        pytest.param(b"<html>log in</html>", id="page of a captive portal"),
        pytest.param(b"", id="nothing"),
        pytest.param(GZ["a"][:-9], id="truncated"),
        pytest.param(GZ["a"] * 2, id="twice"),
        pytest.param(GZ["a"][:20] + b"\xff" * 8 + GZ["a"][28:], id="flipped bits"),
    ],
)
def test_wrong_download_is_refused_and_leaves_nothing(content: bytes, serve: Serve, tmp_path: Path) -> None:
    published, _ = mirrored(serve, tmp_path, **{"a.gz": content})
    message = refused(replace(published, test=()), tmp_path / "root")
    assert "a.gz" in message
    assert ".part" not in message  # a file that is gone by now
    assert {p.name for p in (tmp_path / "root/Tiny/raw").iterdir()} <= {".lock"}


class Broken(http.server.BaseHTTPRequestHandler):
    answer = b""

    def do_GET(self) -> None:
        self.wfile.write(self.answer)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="closed"),
        pytest.param(b"no HTTP at all\r\n\r\n", id="no HTTP"),
        pytest.param(b"HTTP/1.1 404 Not Found\r\n\r\n", id="not found"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + GZ["a"][:30], id="dropped"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nshort", id="dropped chunk"),
    ],
)
def test_broken_connection_is_one_line_and_leaves_nothing(answer: bytes, serve: Serve, tmp_path: Path) -> None:
    server = serve(type("_Broken", (Broken,), {"answer": answer}))
    published = replace(TINY, url=f"http://127.0.0.1:{server.server_port}/", test=())
    assert "a.gz" in refused(published, tmp_path)
    assert {p.name for p in (tmp_path / "Tiny/raw").iterdir()} <= {".lock"}


def test_threads_at_once_read_the_same_and_fetch_once(serve: Serve, tmp_path: Path) -> None:
    published, asked = mirrored(serve, tmp_path)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: read(published, tmp_path / "root"), range(4)))
    assert results == [[RAW["a"], RAW["b"]]] * 4
    assert sorted(asked) == ["/a.gz", "/b.gz"]


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(
            n,
            marks=case("data", f"{n} processes that download a dataset at the same time: each file is downloaded once"),
        )
        for n in (2, 8)
    ],
)
def test_processes_at_once_read_the_same_and_fetch_once(count: int, serve: Serve, tmp_path: Path) -> None:
    published, asked = mirrored(serve, tmp_path)
    (tmp_path / "published").write_bytes(pickle.dumps(published))
    code = (
        "import pathlib, pickle, sys; from lenet_pl.data.download import read_files\n"
        "p = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "c = read_files('tiny', p, p.train + p.test, pathlib.Path(sys.argv[2]), download=True)\n"
        "print(*map(len, c))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "published"), str(tmp_path / "root")]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) for _ in range(count)
    ]
    for process in processes:
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert output.strip().endswith(f"{len(RAW['a'])} {len(RAW['b'])}")
    assert sorted(asked) == ["/a.gz", "/b.gz"]


# ------------------------------------------------------------------------------------------------------------ archives


def zipped(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def tarred(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


ZIP = zipped({f"gzip/{n}.gz": c for n, c in GZ.items()})
TAR = tarred({f"batches/{n}": c for n, c in RAW.items()})


def in_zip() -> PublishedDataset:
    members = {name: DataFile(f"{name}.gz", sha256(content)) for name, content in GZ.items()}
    archive = DataFile("gzip.zip", sha256(ZIP))
    return replace(TINY, train=(members["a"],), test=(members["b"],), archive=archive)


def in_tar() -> PublishedDataset:
    archive = DataFile("all.tar.gz", sha256(TAR))
    return replace(TINY, train=(DataFile("batches/a", ""),), test=(DataFile("batches/b", ""),), archive=archive)


@pytest.mark.parametrize(("published", "content"), [(in_zip(), ZIP), (in_tar(), TAR)])
def test_archive_is_read_where_it_lies(published: PublishedDataset, content: bytes, tmp_path: Path) -> None:
    assert published.archive
    put(tmp_path / "Tiny" / published.archive.name, content)
    assert read(published, tmp_path, download=False) == [RAW["a"], RAW["b"]]


@pytest.mark.parametrize(("published", "content"), [(in_zip(), ZIP), (in_tar(), TAR)])
def test_archive_is_downloaded_whole(published: PublishedDataset, content: bytes, serve: Serve, tmp_path: Path) -> None:
    assert published.archive
    name = published.archive.name
    published, asked = mirrored(serve, tmp_path, published, **{name: content})
    assert read(published, tmp_path / "root") == [RAW["a"], RAW["b"]]
    assert asked == [f"/{name}"]


def test_members_of_a_zip_are_found_unpacked_too(tmp_path: Path) -> None:
    for name, content in GZ.items():
        put(tmp_path / f"Tiny/raw/{name}.gz", content)
    assert read(in_zip(), tmp_path, download=False) == [RAW["a"], RAW["b"]]


def test_absent_archive_is_what_the_message_asks_for(tmp_path: Path) -> None:
    assert "put gzip.zip from" in refused(in_zip(), tmp_path, download=False)


# the flag that says so, in the members' headers and in the directory
ENCRYPTED = ZIP.replace(b"PK\x03\x04\x14\0\0", b"PK\x03\x04\x14\0\1").replace(b"\x14\x03\x14\0\0", b"\x14\x03\x14\0\1")


@pytest.mark.parametrize(
    ("published", "content"),
    [
        pytest.param(in_zip(), ZIP[:100], id="truncated zip"),
        pytest.param(in_zip(), b"no zip", id="no zip"),
        pytest.param(in_zip(), zipped({"gzip/a.gz": GZ["a"]}), id="zip without b"),
        pytest.param(in_zip(), zipped({"gzip/a.gz": GZ["b"], "gzip/b.gz": GZ["b"]}), id="zip with a wrong member"),
        pytest.param(in_zip(), ENCRYPTED, id="encrypted zip"),
        pytest.param(in_tar(), TAR[:100], id="truncated tar"),
        pytest.param(in_tar(), tarred({f"batches/{n}": b"x" for n in RAW}), id="another tar"),
    ],
)
def test_wrong_archive_is_named(published: PublishedDataset, content: bytes, tmp_path: Path) -> None:
    assert published.archive
    path = put(tmp_path / "Tiny" / published.archive.name, content)
    assert refused(published, tmp_path, download=False).startswith(f"{path}: ")


def test_member_that_a_verified_tar_lacks_is_named(tmp_path: Path) -> None:
    put(tmp_path / "Tiny/all.tar.gz", TAR)
    assert "batches/c" in refused(replace(in_tar(), test=(DataFile("batches/c", ""),)), tmp_path)
