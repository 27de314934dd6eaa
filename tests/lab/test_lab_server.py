import asyncio
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from checkpoint_diff import checkpoint, difference
from fastapi.testclient import TestClient
from promise import case

from lenet_pl.errors import SettingError
from lenet_pl.lab import server
from lenet_pl.lab.choices import command_line, compose_settings
from lenet_pl.lab.server import create_app
from lenet_pl.lab.training import ENDED
from lenet_pl.lab.trainings import Trainings
from lenet_pl.settings import TrainSettings
from lenet_pl.settings.compose import compose
from lenet_pl.settings.lab import LabSettings

QUICK = {
    "model.channels": [[4], [8]],
    "model.hidden_sizes": [],
    "loader.batch_size": 256,
    "trainer.max_epochs": 4,
    "report": "none",
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> LabSettings:
    folder = tmp_path_factory.mktemp("lab")
    return compose("lab", LabSettings, [f"output_dir={folder}", "datasets=[digits,usps]", "max_running=2"])


@pytest.fixture(scope="module")
def trainings(settings: LabSettings) -> Iterator[Trainings]:
    with Trainings(settings) as trainings:
        yield trainings


@pytest.fixture(scope="module")
def client(settings: LabSettings, trainings: Trainings) -> Iterator[TestClient]:
    with TestClient(create_app(settings, trainings), base_url="http://127.0.0.1:8001") as client:
        yield client


def test_the_form_offers_what_is_here(client: TestClient) -> None:
    found = client.get("/choices").json()
    assert list(found["groups"]["data"]) == ["digits"]  # USPS is not on this machine
    assert found["groups"]["model"]["cnn5_bn"]["channels"] == [[32], [64, 64], [128, 128]]
    assert found["values"]["model.pooling"] == ["max", "avg", "strided_conv"]
    assert found["defaults"]["trainer"]["max_epochs"] == 30
    assert found["meanings"]["augment.degrees"].startswith("Largest rotation")


def test_a_network_is_described_with_the_size_after_each_layer(client: TestClient) -> None:
    chosen = {"model": "lenet_bn", "model.channels": [[6], [16]], "optimizer": "sgd", "optimizer.lr": 0.1}
    found = client.post("/preview", json={"settings": chosen}).json()
    shapes = {row["name"]: row["shape"] for row in found["layers"]}
    assert shapes["features.conv1"] == [6, 28, 28]
    assert shapes["features.pool2"] == [16, 5, 5]
    assert shapes["classifier.output"] == [10]
    assert found["parameters"] == sum(row["parameters"] for row in found["layers"])
    command = "model=lenet_bn optimizer=sgd 'model.channels=[[6],[16]]' optimizer.lr=0.1"
    assert found["command"] == f"python -m lenet_pl.train {command}"
    picture = client.post("/augmentation", json={"settings": {"augment": "affine"}}).json()
    assert picture["picture"].startswith("data:image/png;base64,")
    assert picture["changed"]


def test_the_command_line_says_the_same(settings: LabSettings) -> None:
    chosen = {"model": "cnn3_bn", "scheduler": "cosine", "augment.degrees": 12, "callbacks.ema.decay": 0.99}
    words = command_line(settings, chosen).split()[3:]
    ours = compose_settings(settings, chosen).model_dump()
    theirs = compose("train", TrainSettings, ["run=unused", *words]).model_dump()
    assert ours["callbacks"].pop("progress_bar") is False  # there is no terminal
    assert theirs["callbacks"].pop("progress_bar") is True
    assert ours == theirs


@pytest.mark.parametrize(
    ("chosen", "key", "why"),
    [
        ({"model.kernel_size": 40}, "model.kernel_size", "got 40; must be"),
        ({"model.kernel_size": 29}, "model.image_size", "too small for this network: conv2"),
        ({"optimizer.lr": -1}, "optimizer.lr", "got -1; must be"),
        ({"optimizer.lr": "fast"}, "optimizer.lr", "got 'fast'; must be"),
        ({"model": "lenet6"}, "model", "did you mean lenet5"),
        ({"data": "folder"}, "data", "must be one of digits"),
        ({"loader.batch_size": 5000}, "loader.batch_size", "must be 1 to 1222"),
        ({"model.channels": [[6, "x y"]]}, "model.channels", "must be a number, a word"),
    ],
)
def test_a_mistake_is_one_line_with_its_key(client: TestClient, chosen: Any, key: str, why: str) -> None:
    for path in ("/preview", "/runs"):
        reply = client.post(path, json={"settings": chosen})
        assert reply.status_code == 422
        assert reply.json()["key"] == key
        assert why in reply.json()["error"]
        assert "\n" not in reply.json()["error"]


@case("strangers", "the lab: settings that name a path, a module or an interpolation are refused")
@pytest.mark.parametrize(
    "chosen",
    [
        {"run": "/tmp/elsewhere"},
        {"plugins": ["os"]},
        {"data_root": "/etc"},
        {"data.path": "/etc"},
        {"init_from": "x"},
        {"teacher": "x"},
        {"hydra.run.dir": "x"},
        {"hydra.searchpath": ["file://x"]},
        {"logger": "mlflow"},
        {"extra_callbacks": "lr_monitor"},
        {"model.architecture": "convnet"},
        {"model.name": "../../x"},
        {"model.activation": "${oc.env:HOME}"},
        {"optimizer": "../model/lenet5"},
        {"model": ["lenet5"]},
        {"model.channels=1 run": 3},
        {"+trainer.max_epochs": 3},
        {"trainer.accelerator": "cpu"},
        {"model.channels": [[[1]]]},
        {"model.hidden_sizes": [1] * 100},
    ],
)
def test_a_page_cannot_reach_elsewhere(client: TestClient, settings: LabSettings, chosen: Any) -> None:
    reply = client.post("/runs", json={"settings": chosen})
    assert reply.status_code == 422
    assert list(Path(settings.output_dir).glob("[0-9]*")) == []


@case("strangers", "the lab: other hosts, other content types, large bodies and paths outside are refused")
def test_strangers_are_refused(client: TestClient) -> None:
    body = json.dumps({"settings": {}})
    assert client.post("/runs", content=body, headers={"content-type": "text/plain"}).status_code == 415
    assert client.post("/runs", content=body).status_code == 415
    assert client.post("/preview", json={"settings": {"a": "x" * 70_000}}).status_code == 413
    for wrong in (b"[", b"[1]", b'{"settings": 3}', b"[" * 60_000):
        reply = client.post("/runs", content=wrong, headers={"content-type": "application/json"})
        assert reply.status_code in (400, 422)
    assert client.get("/choices", headers={"host": "evil.example"}).status_code == 400
    assert client.get("/../server.py").status_code == 404
    for name in ("/", "/main.js", "/page.css", "/texts.js"):
        reply = client.get(name)
        assert reply.status_code == 200
        assert "https://" not in reply.text
        assert "default-src 'none'" in reply.headers["content-security-policy"]
    reply = client.post("/runs/999", json={"action": "pause"})
    assert reply.json()["error"] == "run: got '999'; must be a run of this lab"


def test_too_many_pages_are_refused(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_STREAMS", 0)
    reply = client.get("/events")
    assert reply.status_code == 503
    assert reply.json()["error"] == "0 pages are open; close one, or reload this page later"


def wait_for(trainings: Trainings, name: str, *statuses: str) -> dict[str, Any]:
    """Wait until a training has one of some states; returns what is known of it."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        state = trainings._all[name].history.state
        if state["status"] in statuses:
            return state
        assert state["status"] not in ENDED, state
        time.sleep(0.01)
    raise AssertionError(f"{name}: {state['status']}")


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.long
@case("crash", "trainings of the lab paused, killed, resumed and rewound: the bits of one that nobody touched")
def test_processes_of_the_lab(settings: LabSettings, tmp_path: Path) -> None:
    settings = settings.model_copy(update={"output_dir": str(tmp_path)})
    with Trainings(settings) as trainings:
        app = create_app(settings, trainings)
        with TestClient(app, base_url="http://127.0.0.1:8001") as client:
            vary = {"key": "optimizer.lr", "values": [0.01]}
            found = client.post("/runs", json={"settings": QUICK, "vary": vary, "paused": True}).json()
            assert found == {"names": ["001", "002"]}
            assert trainings._all["002"].history.state["label"] == "lenet5 on digits, optimizer.lr=0.01"
            reply = client.post("/runs", json={"settings": QUICK})
            assert reply.status_code == 422
            assert reply.json()["error"].startswith("max_running: 2 trainings run, and 1 more would be started")

            pid = wait_for(trainings, "001", "paused")["pid"]
            client.post("/runs/001", json={"action": "step", "value": 12})
            while trainings._all["001"].history.state.get("step") != 12:
                time.sleep(0.01)
            assert wait_for(trainings, "001", "paused")["snapshots"] == [1, 2]
            wrong = client.post("/runs/001", json={"action": "lr", "value": -1}).json()
            assert wrong["error"] == "lr: got -1; must be a number greater than 0, up to 1000"
            client.post("/runs/001", json={"action": "kill"})
            assert "SIGKILL" in wait_for(trainings, "001", "killed")["error"]
            assert not exists(pid)
            client.post("/runs/001", json={"action": "resume"})
            client.post("/runs/002", json={"action": "go"})
            wait_for(trainings, "001", "finished")
            wait_for(trainings, "002", "finished")

            assert client.post("/runs/001", json={"action": "rewind", "value": 9}).status_code == 422
            assert client.post("/runs/001", json={"action": "rewind", "value": 2}).json() == {"name": "003"}
            wait_for(trainings, "003", "paused")
            assert len(trainings._all["003"].history.rows) == 2
            client.post("/runs/003", json={"action": "go"})
            wait_for(trainings, "003", "finished")
            first, third = tmp_path / "001", tmp_path / "003"
            assert difference(checkpoint(first), checkpoint(third)) == []
            results = [json.loads((folder / "results.json").read_text()) for folder in (first, third)]
            assert results[0]["metrics"] == results[1]["metrics"]

            (name,) = client.post("/runs", json={"settings": QUICK, "paused": True}).json()["names"]
            client.post(f"/runs/{name}", json={"action": "step", "value": 7})
            while trainings._all[name].history.state.get("step") != 7:
                time.sleep(0.01)
            pid = wait_for(trainings, name, "paused")["pid"]
            events = asyncio.run(first_event(trainings))
            assert events[name]["state"]["status"] == "paused"
            assert len(events["001"]["rows"]["values"]) == 4
    assert not exists(pid)  # the server has ended, and no process is left
    assert trainings._all[name].history.state["status"] == "stopped"
    assert asyncio.run(first_event(trainings)) is None
    shutil.rmtree(tmp_path / "002")
    with Trainings(settings) as again:  # the server is started again
        assert [(t.name, t.history.state["status"]) for t in again.all()] == [
            ("001", "finished"),
            ("003", "finished"),
            (name, "stopped"),
        ]
        assert len(again._all["001"].history.rows) == 4
        with pytest.raises(SettingError, match=r"^run: 001 is finished, or has no checkpoint"):
            again.action("001", "resume", None)
        again.action(name, "resume", None)
        wait_for(again, name, "finished")
    assert difference(checkpoint(first), checkpoint(tmp_path / name)) == []


async def first_event(trainings: Trainings) -> Any:
    """Read what a page gets that is opened now; None from a server that ends."""
    async for event in server._follow(trainings, set()):
        return json.loads(event.removeprefix("data: "))
    return None
