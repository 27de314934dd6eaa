import gzip
import hashlib
import http.server
import io
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from quiet_server import QuietServer

from lenet_pl.__main__ import main
from lenet_pl.data import fetch as fetching
from lenet_pl.data.download import read_files
from lenet_pl.data.published import PUBLISHED, DataFile, PublishedDataset
from lenet_pl.data.stored_files import published_datasets
from lenet_pl.datasets import actions, datasets, with_words
from lenet_pl.errors import DataError, SettingError
from lenet_pl.settings.compose import compose
from lenet_pl.settings.datasets import DatasetsSettings

RAW = {"a.gz": b"first file " * 500, "b.gz": b"second file " * 500}
GZ = {name: gzip.compress(content, mtime=0) for name, content in RAW.items()}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def tiny(*addresses: str) -> PublishedDataset:
    train, test = DataFile("a.gz", sha256(RAW["a.gz"]), sha256_of_raw=True), DataFile("b.gz", sha256(GZ["b.gz"]))
    url, *mirrors = addresses or ("http://127.0.0.1:1/",)
    return PublishedDataset("Tiny", url, (train,), (test,), ("x", "y"), mirrors=tuple(mirrors))


class Answer(http.server.BaseHTTPRequestHandler):
    """A server's answer to every request."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.answer(self.path.rpartition("/")[2])

    def answer(self, name: str) -> None:
        self.send(GZ[name])

    def send(self, content: bytes, length: int | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


class NotFound(Answer):
    def answer(self, name: str) -> None:
        self.send_error(404)


class WrongDigest(Answer):
    def answer(self, name: str) -> None:
        self.send(gzip.compress(b"another content"))


class CutOff(Answer):
    def answer(self, name: str) -> None:
        self.send(GZ[name][:20], len(GZ[name]))


class Silent(Answer):
    def answer(self, name: str) -> None:
        time.sleep(3)  # longer than the timeout


class Trickle(Answer):
    def answer(self, name: str) -> None:
        self.send(b"", 10**6)
        for _ in range(20):
            self.wfile.write(b"x")
            self.wfile.flush()
            time.sleep(0.02)


Serve = Callable[[type[Answer]], tuple[str, list[str]]]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(fetching, "PATIENCE", 0.1)
    servers = []

    def _serve(kind: type[Answer]) -> tuple[str, list[str]]:
        asked: list[str] = []
        server = QuietServer(("127.0.0.1", 0), type("_Answer", (kind,), {"asked": asked}))
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/", asked

    yield _serve
    for server in servers:
        server.shutdown()
        server.server_close()


def leftovers(root: Path) -> set[str]:
    return {path.name for path in (root / "Tiny" / "raw").iterdir()} - {".lock", "a.gz", "b.gz"}


@pytest.mark.parametrize("broken", [NotFound, WrongDigest, CutOff, Silent, Trickle])
def test_the_second_address_is_tried_if_the_first_fails(
    broken: type[Answer], serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "TIMEOUT", 1 if broken is Silent else 20)
    (first, asked_first), (second, asked_second) = serve(broken), serve(Answer)
    published = replace(tiny(first, second), test=())
    assert read_files("tiny", published, published.train, tmp_path, download=True) == [RAW["a.gz"]]
    assert asked_first == asked_second == ["/a.gz"]
    assert not leftovers(tmp_path)


def test_if_all_addresses_fail_the_reason_of_each_is_given(serve: Serve, tmp_path: Path) -> None:
    (first, _), (second, _) = serve(NotFound), serve(CutOff)
    with pytest.raises(DataError) as error:
        actions.fetch({"tiny": tiny(first, second)}, tmp_path, None)
    message = str(error.value)
    assert f"{fetching.host_of(first)}: Not Found; {fetching.host_of(second)}: " in message
    assert "20 of" in message
    assert "\n" not in message
    assert not leftovers(tmp_path)


def test_a_dataset_that_fails_does_not_stop_the_others(
    serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (bad, _), (good, _) = serve(NotFound), serve(Answer)
    with pytest.raises(DataError, match="data=first: not found"):
        actions.fetch({"first": replace(tiny(bad), folder="First"), "second": tiny(good)}, tmp_path, None)
    assert "second: 2 files with the published digests in " in capsys.readouterr().out


def test_a_mirror_of_the_user_comes_first(serve: Serve, tmp_path: Path) -> None:
    (published, asked), (mirror, mirrored) = serve(Answer), serve(Answer)
    actions.fetch({"tiny": tiny(published)}, tmp_path, mirror)
    assert (asked, mirrored) == ([], ["/a.gz", "/b.gz"])
    with pytest.raises(SettingError, match="mirror: got an address for several datasets"):
        actions.fetch({"one": tiny(), "two": tiny()}, tmp_path, mirror)


def put_all(root: Path) -> None:
    for name, content in GZ.items():
        (root / "Tiny" / "raw").mkdir(parents=True, exist_ok=True)
        (root / "Tiny" / "raw" / name).write_bytes(content)


def test_verify_names_corrupt_and_missing_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_all(tmp_path)
    actions.verify({"tiny": tiny(), "other": replace(tiny(), folder="Other")}, tmp_path, required=False)
    assert capsys.readouterr().out.count("\n") == 1  # the other is not here
    (tmp_path / "Tiny/raw/a.gz").write_bytes(GZ["a.gz"][:-5])
    with pytest.raises(DataError, match=r"Tiny/raw/a\.gz: corrupt"):
        actions.verify({"tiny": tiny()}, tmp_path, required=False)
    (tmp_path / "Tiny/raw/a.gz").unlink()
    with pytest.raises(DataError, match=r"tiny: a\.gz missing; use fetch tiny"):
        actions.verify({"tiny": tiny()}, tmp_path, required=False)


def test_the_list_says_what_is_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_all(tmp_path)
    (tmp_path / "Tiny/raw/b.gz").unlink()
    actions.list_files({"tiny": tiny("https://one/x/", "https://two/y/")}, tmp_path)
    said = capsys.readouterr().out
    assert "1 of 2" in said
    assert "one, two" in said


@pytest.fixture
def only_tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lenet_pl.data.stored_files.PUBLISHED", {"tiny": tiny()})


def test_an_archive_carries_the_files_to_another_machine(
    only_tiny: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put_all(tmp_path / "here")
    for name in ("one.tar", "two.tar"):
        actions.pack_files({"tiny": tiny()}, tmp_path / "here", str(tmp_path / name), required=False)
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    actions.unpack_files({}, tmp_path / "there", str(tmp_path / "one.tar"))
    published = tiny()
    found = read_files("tiny", published, (*published.train, *published.test), tmp_path / "there", download=False)
    assert found == list(RAW.values())
    assert "digests: 2" in capsys.readouterr().out
    with pytest.raises(SettingError, match=r"archive: .*one\.tar exists"):
        actions.pack_files({"tiny": tiny()}, tmp_path / "here", str(tmp_path / "one.tar"), required=False)


def tar_of(file: Path, **members: bytes) -> str:
    with tarfile.open(file, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return str(file)


def test_nothing_but_published_files_is_unpacked(
    only_tiny: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = {"../escaped": b"x", "Tiny/raw/other": b"x", "Tiny/raw/a.gz": GZ["a.gz"]}
    actions.unpack_files({}, tmp_path / "root", tar_of(tmp_path / "odd.tar", **odd))
    assert [path.name for path in (tmp_path / "root").rglob("*") if path.is_file()] == ["a.gz"]
    assert not (tmp_path / "escaped").exists()
    assert capsys.readouterr().out.count("is no published file") == 2
    other = replace(tiny(), folder="Other")
    with pytest.raises(DataError, match=r"odd\.tar contains no file of other"):
        actions.unpack_files({"tiny": tiny(), "other": other}, tmp_path / "more", str(tmp_path / "odd.tar"))
    with pytest.raises(DataError, match=r"Tiny/raw/b\.gz in .* is not the published file"):
        actions.unpack_files({}, tmp_path / "root", tar_of(tmp_path / "bad.tar", **{"Tiny/raw/b.gz": GZ["a.gz"]}))
    with pytest.raises(DataError, match="contains no published file"):
        actions.unpack_files({}, tmp_path / "root", tar_of(tmp_path / "none.tar", readme=b"x"))
    (tmp_path / "text.tar").write_text("no archive")
    with pytest.raises(DataError, match=r"text\.tar cannot be unpacked"):
        actions.unpack_files({}, tmp_path / "root", str(tmp_path / "text.tar"))


def test_a_missing_file_is_not_packed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no complete dataset"):
        actions.pack_files({"tiny": tiny()}, tmp_path, str(tmp_path / "x.tar"), required=False)
    with pytest.raises(DataError, match=r"tiny: a\.gz is not in"):
        actions.pack_files({"tiny": tiny()}, tmp_path, str(tmp_path / "x.tar"), required=True)
    assert not (tmp_path / "x.tar").exists()


def test_words_are_settings() -> None:
    assert with_words(["fetch", "mnist", "usps", "traceback=true"]) == [
        "action=fetch",
        "names=[mnist,usps]",
        "traceback=true",
    ]
    assert with_words(["--help"]) == ["--help"]
    assert with_words(["verify"]) == ["action=verify"]
    assert with_words(["data_root=sets", "verify", "fashion-mnist"]) == [
        "action=verify",
        "names=[fashion-mnist]",
        "data_root=sets",
    ]
    assert with_words(["--cfg", "job", "-p", "hydra.job", "list"]) == ["action=list", "--cfg", "job", "-p", "hydra.job"]


def test_lenet_data_is_the_command_datasets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lenet"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    main(["data", "verify", "data_root=nowhere", "names=[]"])
    with pytest.raises(SystemExit) as end:
        main(["data", "verify", "kmnist", "data_root=nowhere"])
    assert end.value.code == 1
    assert "kmnist: train-images-idx3-ubyte.gz" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_every_published_dataset_is_known_and_every_address_is_encrypted() -> None:
    known = published_datasets()
    assert set(known) == {*PUBLISHED, "emnist"}
    for published in known.values():
        addresses = (published.url, *published.mirrors)
        assert all(address.startswith("https://") and address.endswith("/") for address in addresses)
        assert len(set(addresses)) == len(addresses)


def test_the_command_needs_an_archive(tmp_path: Path) -> None:
    for action in ("pack", "unpack"):
        with pytest.raises(SettingError, match=f"archive: no value given; must be a file, as in {action}"):
            datasets(compose("datasets", DatasetsSettings, [f"action={action}", f"data_root={tmp_path}"]))


def test_no_file_takes_more_memory_than_a_published_one(
    only_tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lenet_pl.data.fetch.MAX_RAW", 1 << 20)
    bomb = gzip.compress(bytes(1 << 20)) * 8
    with pytest.raises(DataError, match=r"bomb\.tar cannot be unpacked .*more than 1 MiB when decompressed"):
        actions.unpack_files({}, tmp_path / "root", tar_of(tmp_path / "bomb.tar", **{"Tiny/raw/a.gz": bomb}))
    place = tmp_path / "here" / "Tiny" / "raw"
    place.mkdir(parents=True)
    (place / "a.gz").write_bytes(bomb)
    with pytest.raises(DataError, match=r"a\.gz.*more than 1 MiB when decompressed"):
        actions.verify({"tiny": tiny()}, tmp_path / "here", required=True)
