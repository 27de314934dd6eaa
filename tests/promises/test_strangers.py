"""Untrusted files neither execute code nor exhaust the memory."""

import datetime
import enum
import functools
import io
import json
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import Compose
from omegaconf import OmegaConf
from promise import case
from torch import nn

from lenet_pl.compare.run_index import find_runs
from lenet_pl.errors import DataError, UserError
from lenet_pl.evaluate import evaluate
from lenet_pl.inference.trained_run import open_run
from lenet_pl.runtime.checkpoint_file import load_checkpoint
from lenet_pl.settings import compose as composition
from lenet_pl.settings.evaluate import EvaluateSettings
from lenet_pl.settings.trained import TrainedSettings
from lenet_pl.train import train
from lenet_pl.train.resume import begin_or_resume


class Payload:
    """Payload that creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


class Colour(enum.Enum):
    RED = 1


def asked(*overrides: str) -> EvaluateSettings:
    return composition.compose("evaluate", EvaluateSettings, list(overrides))


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "marker"


@pytest.fixture
def content(digits_run: Path) -> dict[str, Any]:
    """Load the content of a real checkpoint, to be modified."""
    return load_checkpoint(digits_run / "checkpoints" / "best.ckpt")


Refused = Callable[[Path], str]


@pytest.fixture
def refused(digits_run: Path, compose: Compose, tmp_path: Path) -> Refused:
    """Load a checkpoint through every setting that leads to one; return the first error."""

    def _refused(checkpoint: Path) -> str:
        run = tmp_path / "run"
        (run / "checkpoints").mkdir(parents=True)
        for name in ("best", "last"):
            (run / "checkpoints" / f"{name}.ckpt").write_bytes(checkpoint.read_bytes())
        settings = yaml.safe_load((digits_run / "config.yaml").read_text())
        (run / "config.yaml").write_text(yaml.safe_dump(settings))
        given = compose(f"run={run}", "resume=true", "logger=none", "callbacks.progress_bar=false")
        resumed = begin_or_resume(given, run, [], False)
        assert resumed
        ways: list[Callable[[], Any]] = [
            lambda: open_run(
                TrainedSettings(run=None, ckpt_path=str(checkpoint), output_dir=None, traceback=False, plugins=[])
            ),
            lambda: open_run(
                TrainedSettings(run=str(run), ckpt_path=None, output_dir=None, traceback=False, plugins=[])
            ),
            lambda: train(resumed, run),
        ]
        said = []
        for way in ways:
            with pytest.raises(UserError) as error:
                way()
            assert error.value.exit_code > 0
            said.append(str(error.value))
        assert [text for text in said if "\n" in text or ".ckpt: " not in text] == []
        assert not (run / "results.json").exists()
        return said[0]

    return _refused


@case(
    "strangers",
    "a pickle payload in a local checkpoint: rejected as ckpt_path=, in run= and by resume, nothing is executed",
)
def test_payload_local(refused: Refused, content: dict[str, Any], marker: Path, tmp_path: Path) -> None:
    torch.save(content | {"payload": Payload(marker)}, tmp_path / "evil.ckpt")
    assert "it contains more than tensors and plain values" in refused(tmp_path / "evil.ckpt")
    assert not marker.exists()
    pickle.loads(pickle.dumps(Payload(marker)))
    assert marker.exists()  # so it would have been executed


@case("strangers", "a pickle payload in the legacy format without zip: rejected, nothing is executed")
def test_payload_legacy(refused: Refused, content: dict[str, Any], marker: Path, tmp_path: Path) -> None:
    evil = content | {"payload": Payload(marker)}
    torch.save(evil, tmp_path / "evil.ckpt", _use_new_zipfile_serialization=False)
    refused(tmp_path / "evil.ckpt")
    assert not marker.exists()


@case("strangers", "a pickle payload with TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1: rejected, nothing is executed")
def test_payload_with_the_check_switched_off(
    refused: Refused, content: dict[str, Any], marker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch.save(content | {"payload": Payload(marker)}, tmp_path / "evil.ckpt")
    refused(tmp_path / "evil.ckpt")
    assert not marker.exists()


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/evil.ckpt", "https://127.0.0.1:9/e", "file:///etc/passwd"])
@case("strangers", "a URL instead of a checkpoint: rejected as a missing file, no connection is opened")
def test_an_address_is_no_checkpoint(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: Any) -> None:
        pytest.fail("a connection was opened")

    monkeypatch.setattr("socket.socket.connect", connect)
    with pytest.raises(DataError, match=r"no such checkpoint$"):
        evaluate(asked(f"ckpt_path='{address}'"))
    with pytest.raises(DataError, match="is not a folder; must be"):
        evaluate(asked(f"run='{address}'"))


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(key, marks=case("strangers", f"{key} in a checkpoint: nothing is imported or executed"))
        for key in ("_instantiator", "_class_path")
    ],
)
def test_names_of_code_are_not_followed(key: str, content: dict[str, Any], marker: Path, tmp_path: Path) -> None:
    (tmp_path / "stranger.py").write_text(f"open({str(marker)!r}, 'w')\n\n\ndef build(*_, **__): ...\n")
    content["hyper_parameters"] |= {key: "stranger.build"}
    content["hyper_parameters"]["settings"]["model"] |= {key: "stranger.build"}
    torch.save(content, tmp_path / "evil.ckpt")
    sys.path.insert(0, str(tmp_path))
    try:
        with pytest.raises(DataError, match="not written by this version of lenet_pl"):
            evaluate(asked(f"ckpt_path='{tmp_path / 'evil.ckpt'}'"))
    finally:
        sys.path.remove(str(tmp_path))
    assert "stranger" not in sys.modules
    assert not marker.exists()


OBJECTS: dict[str, Any] = {
    "a DictConfig": OmegaConf.create({"lr": 0.1}),
    "a functools.partial": functools.partial(max, 1),
    "an nn.Module": nn.Linear(2, 2),
    "a Path": Path("x"),
    "a np.float64": np.float64(0.1),
    "an Enum": Colour.RED,
    "a date": datetime.date(1998, 11, 1),
    "a function": functools.reduce,
}


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(
            value,
            id=name,
            marks=case("strangers", f"{name} in a checkpoint: rejected with one error line"),
        )
        for name, value in OBJECTS.items()
    ],
)
def test_hyperparameters_are_plain_values(
    value: Any, refused: Refused, content: dict[str, Any], tmp_path: Path
) -> None:
    content["hyper_parameters"]["settings"]["note"] = value
    torch.save(content, tmp_path / "odd.ckpt")
    assert "not a valid checkpoint" in refused(tmp_path / "odd.ckpt")


@case("strangers", "the hyperparameters that a run stores: plain JSON values only")
def test_what_is_stored_is_plain(content: dict[str, Any]) -> None:
    assert json.loads(json.dumps(content["hyper_parameters"])) == content["hyper_parameters"]


TARGETS: dict[str, dict[str, Any]] = {
    "builtins.open": {"file": "{marker}", "mode": "w"},
    "pathlib.Path.write_text": {"self": "{marker}", "data": "x"},
    "torch.load": {"f": "{marker}.ckpt", "weights_only": False},
    "numpy.load": {"file": "{marker}.npy", "allow_pickle": True},
    "torch.hub.load": {"repo_or_dir": "{folder}", "model": "x", "source": "local"},
    "shutil.copy": {"src": "{folder}/config.yaml", "dst": "{marker}"},
    "os.makedirs": {"name": "{marker}"},
}


@pytest.mark.parametrize(
    ("target", "arguments"),
    [
        pytest.param(
            *row,
            id=row[0],
            marks=case("strangers", f"_target_: {row[0]} in config.yaml: rejected, not called"),
        )
        for row in TARGETS.items()
    ],
)
@pytest.mark.parametrize("group", ["model", "optimizer"])
def test_a_run_folder_names_no_code(
    target: str, arguments: dict[str, Any], group: str, digits_run: Path, compose: Compose, tmp_path: Path
) -> None:
    run, marker = tmp_path / "run", tmp_path / "marker"
    (run / "checkpoints").mkdir(parents=True)
    for name in ("ckpt", "npy"):
        (tmp_path / f"marker.{name}").write_bytes(pickle.dumps(Payload(marker)))
    (run / "hubconf.py").write_text(f"open({str(marker)!r}, 'w')\n")
    settings = yaml.safe_load((digits_run / "config.yaml").read_text())
    called = {k: v.format(marker=marker, folder=run) if isinstance(v, str) else v for k, v in arguments.items()}
    settings[group] = called | settings[group] | {"_target_": target}
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    with pytest.raises(DataError) as error:
        begin_or_resume(compose(f"run={run}", "resume=true"), run, [], False)
    line = str(error.value)
    assert line.startswith(f"resume: {run}: {group}.")
    assert ": unknown setting" in line
    assert "\n" not in line
    find_runs([str(run)])
    assert not marker.exists()


def damaged(how: str, content: dict[str, Any], whole: bytes) -> bytes:
    """Build the bytes of a broken checkpoint."""
    if how == "flipped":
        changed = bytearray(whole)
        weight = content["state_dict"]["model.classifier.linear1.weight"].numpy().tobytes()
        changed[changed.index(weight) + 5] ^= 1
        return bytes(changed)
    if how == "truncated":
        return whole[: len(whole) // 2]
    if how == "empty":
        return b""
    if how == "nan":
        content["state_dict"]["model.features.conv2.weight"][3] = torch.nan
    elif how == "wide":
        content["hyper_parameters"]["settings"]["model"]["hidden_sizes"] = [60000, 60000]
    stream = io.BytesIO()
    torch.save(content, stream)
    if how == "compressed":  # 2 GiB of zeros in 2 MB
        packed = io.BytesIO()
        with zipfile.ZipFile(stream) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
            for info in old.infolist():
                new.writestr(info.filename, old.read(info))
            with new.open("archive/data/999", "w", force_zip64=True) as entry:
                for _ in range(64):
                    entry.write(bytes(2**25))
        return packed.getvalue()
    return stream.getvalue()


BROKEN = {
    "flipped": ("one flipped bit in a weight", "is corrupt"),
    "truncated": ("a truncated file", "not a valid checkpoint"),
    "empty": ("an empty file", "not a valid checkpoint"),
    "nan": ("a NaN weight", "contains NaN or infinite values"),
    "wide": ("a layer of 60,000 × 60,000 weights in the hyperparameters", "parameters"),
    "compressed": ("a zip that decompresses to 2 GiB", "compressed"),
}
MEASURE = """
import resource, sys
from pathlib import Path
from lenet_pl.errors import UserError
from lenet_pl.inference.trained_run import load_run
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for name in sys.argv[1:]:
    try:
        load_run(Path(name))
    except UserError as error:
        print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.fixture(scope="module")
def answers(digits_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], int]:
    """Load each broken checkpoint in a subprocess; return its errors and its additional memory in MiB."""
    folder, best = tmp_path_factory.mktemp("broken"), digits_run / "checkpoints" / "best.ckpt"
    for how in BROKEN:
        (folder / f"{how}.ckpt").write_bytes(damaged(how, load_checkpoint(best), best.read_bytes()))
    names = [str(folder / f"{how}.ckpt") for how in BROKEN]
    done = subprocess.run([sys.executable, "-c", MEASURE, *names], capture_output=True, text=True, check=True)
    *lines, memory = done.stdout.splitlines()
    return dict(zip(BROKEN, lines, strict=True)), int(memory)


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(
            how,
            marks=case("strangers", f"{what}: one error line with the file, less than 200 MiB of additional memory"),
        )
        for how, (what, _) in BROKEN.items()
    ],
)
def test_what_is_broken_is_named_and_takes_no_memory(how: str, answers: tuple[dict[str, str], int]) -> None:
    said, memory = answers
    assert f"{how}.ckpt: " in said[how]
    assert BROKEN[how][1] in said[how]
    assert memory < 200
