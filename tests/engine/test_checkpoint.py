import io
import pickle
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from lenet_pl.engine.checkpoint import AtomicCheckpointIO
from lenet_pl.errors import DataError
from lenet_pl.runtime.checkpoint_file import load_checkpoint

CONTENT = {"state_dict": {"weight": torch.arange(300.0)}, "epoch": 3, "names": ["a", None, 1.5]}


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as error:
        load_checkpoint(path)
    assert error.value.exit_code == 1
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
    return str(error.value)


def saved(**options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(CONTENT, stream, **options)
    return stream.getvalue()


def test_what_was_saved_is_plain_data_and_loads_again(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    AtomicCheckpointIO().save_checkpoint(CONTENT, path)
    for loaded in (load_checkpoint(path), torch.load(path, weights_only=True)):
        assert torch.equal(loaded["state_dict"]["weight"], torch.arange(300.0))
        assert (loaded["epoch"], loaded["names"]) == (3, ["a", None, 1.5])
    assert [p.name for p in path.parent.iterdir()] == ["a.ckpt"]


@pytest.mark.parametrize("how", ["pickle", "zip", "legacy"])
def test_code_inside_a_checkpoint_is_refused_and_does_not_run(how: str, tmp_path: Path) -> None:
    path, marker = tmp_path / "evil.ckpt", tmp_path / "marker"
    evil = {"state_dict": {}, "payload": Payload(marker)}
    if how == "pickle":
        path.write_bytes(pickle.dumps(evil, protocol=2))
    else:
        torch.save(evil, path, _use_new_zipfile_serialization=how == "zip")
    line = refusal(path)
    assert "weights_only" not in line  # no advice to let it run
    assert ("it contains more than tensors and plain values" in line) == (how == "zip")
    assert not marker.exists()
    pickle.loads(pickle.dumps(evil))
    assert marker.exists()  # so it would have run


@pytest.mark.parametrize("length", [0, 1, 100, 500, -100, -1])
def test_a_truncated_file_is_refused(length: int, tmp_path: Path) -> None:
    path = tmp_path / "cut.ckpt"
    path.write_bytes(saved()[:length])
    refusal(path)


@pytest.mark.parametrize("content", [b"hello", b"\x80\x02.", b"\x80\x02h\x00.", b"\x80\x02K", b"\x89PNG\r\n"])
def test_a_file_that_is_no_checkpoint_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other.ckpt"
    path.write_bytes(content)
    refusal(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("new", [True, False])
def test_damaged_files_are_refused_or_hold_plain_data(new: bool, tmp_path: Path) -> None:
    whole, draw, path = saved(_use_new_zipfile_serialization=new), random.Random(0), tmp_path / "damaged.ckpt"
    odd: list[str] = []
    for _ in range(150):
        content = bytearray(whole)
        content[draw.randrange(600)] = draw.randrange(256)
        path.write_bytes(content)
        try:
            load_checkpoint(path)
        except DataError:
            pass
        except Exception as error:
            odd.append(repr(error))
    assert odd == []


def test_something_else_that_torch_saved_is_refused(tmp_path: Path) -> None:
    for name, content in (("list", [1, 2]), ("weights", {"weight": torch.zeros(3)})):
        torch.save(content, tmp_path / name)
        assert "state_dict" in refusal(tmp_path / name)


def test_an_absent_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert "no such checkpoint" in refusal(tmp_path / "nowhere.ckpt")
    refusal(tmp_path)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_save_keeps_the_old_file_and_leaves_nothing_else(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "best.ckpt"
    AtomicCheckpointIO().save_checkpoint(CONTENT, path)
    before = path.read_bytes()

    def fail(_: Any, stream: Any) -> None:
        stream.write(b"half")
        raise error

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(type(error)):
        AtomicCheckpointIO().save_checkpoint({"state_dict": {}}, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["best.ckpt"]


def test_at_every_moment_a_whole_file_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, save = tmp_path / "last.ckpt", torch.save
    AtomicCheckpointIO().save_checkpoint(CONTENT, path)
    seen: list[int] = []

    def watch(content: Any, stream: Any) -> None:
        save(content, stream)
        seen.append(load_checkpoint(path)["epoch"])

    monkeypatch.setattr(torch, "save", watch)
    AtomicCheckpointIO().save_checkpoint({**CONTENT, "epoch": 4}, path)
    assert seen == [3]
    assert load_checkpoint(path)["epoch"] == 4
