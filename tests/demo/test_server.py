import base64
import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from forked_command import run_forked
from PIL import Image
from promise import case

from lenet_pl.attribution.methods import feature_maps
from lenet_pl.demo.server import KIND, MAX_UPLOAD, create_app
from lenet_pl.errors import SettingError
from lenet_pl.inference.trained_run import TrainedRun, load_run
from lenet_pl.settings.predict import PhotoSettings
from lenet_pl.web.server import bind_socket

AUTO = PhotoSettings(invert="auto", remove_background="auto", center="auto")
IMAGE = {"content-type": KIND}


@pytest.fixture(scope="module")
def run(digits_run: Path) -> TrainedRun:
    return load_run(digits_run / "checkpoints" / "best.ckpt")


@pytest.fixture(scope="module")
def client(run: TrainedRun) -> Iterator[TestClient]:
    with TestClient(create_app([run, run], AUTO), base_url="http://127.0.0.1:8000") as client:
        yield client


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def opened(url: str) -> np.ndarray:
    kind, _, content = url.partition(",")
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


def test_an_image_of_the_data_is_answered_as_the_network_answers(client: TestClient, run: TrainedRun) -> None:
    image = run.load_data().test_set[torch.tensor([5])].images
    found = client.post("/runs/1", content=png(image[0, 0].numpy()), headers=IMAGE).json()
    probabilities = run.predict_logits(image)[0].softmax(0)
    assert {row["name"]: row["probability"] for row in found["classes"]} == pytest.approx(
        dict(zip(run.classes, probabilities.tolist(), strict=True)), abs=1e-6
    )
    assert [row["probability"] for row in found["classes"]] == sorted(probabilities.tolist(), reverse=True)
    assert (opened(found["seen"]) == image[0, 0].numpy()).all()
    maps = feature_maps(run, image)
    assert [(row["name"], row["maps"], row["side"]) for row in found["layers"]] == [
        (name, values.shape[1], values.shape[2]) for name, values in maps.items()
    ]
    first = opened(found["layers"][0]["picture"])
    values = maps["conv1"][0]
    scaled = (values - values.min()) / (values.max() - values.min()) * 255
    side = values.shape[1]
    for place in (0, 5):
        tile = first[:side, place * (side + 1) : place * (side + 1) + side]
        assert abs(tile.astype(float) - scaled[place].numpy()).max() <= 0.51
    assert opened(found["grad_cam"]).shape == (32, 32, 4)


@pytest.mark.parametrize(
    ("content", "status", "why"),
    [
        (b"", 422, "image: an empty file; must be"),
        (b"<svg onload=alert(1)>", 422, "image: an SVG drawing; must be"),
        (png(np.full((9, 9), 255, np.uint8))[:45], 422, "image: corrupt"),
        (png(np.full((80, 80), 255, np.uint8)), 422, "nothing on it"),
        pytest.param(
            b"\x89PNG\r\n\x1a\n" + b"\0" * MAX_UPLOAD,
            413,
            "image: got more than 5 MB; must be at most 5 MB",
            marks=case("images", "an upload over the limit: status 413, one error line"),
        ),
    ],
)
def test_what_is_no_usable_image_is_refused_in_one_line(
    client: TestClient, content: bytes, status: int, why: str
) -> None:
    reply = client.post("/runs/0", content=content, headers=IMAGE)
    assert reply.status_code == status
    assert why in reply.json()["error"]
    assert "20 MB" not in reply.json()["error"]  # the limit of the decoder, not of the page
    assert "\n" not in reply.json()["error"]


def test_strangers_pages_and_names_are_refused(client: TestClient) -> None:
    image = png(np.zeros((8, 8), np.uint8))
    assert client.post("/runs/0", content=image, headers={"content-type": "text/plain"}).status_code == 415
    assert client.post("/runs/7", content=image, headers=IMAGE).status_code == 404
    assert client.post("/runs/-1", content=image, headers=IMAGE).status_code == 404
    assert client.get("/runs", headers={"host": "evil.example"}).status_code == 400
    assert "access-control-allow-origin" not in client.get("/runs", headers={"origin": "http://evil.example"}).headers


@pytest.mark.parametrize("path", ["/../server.py", "/%2e%2e/server.py", "/..%2fserver.py", "/page.js/../../server.py"])
def test_nothing_but_the_page_is_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_the_page_asks_nobody_else(client: TestClient) -> None:
    for name in ("/", "/page.js", "/page.css"):
        reply = client.get(name)
        assert reply.status_code == 200
        assert "http://" not in reply.text
        assert "https://" not in reply.text
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "http" not in policy


def test_a_taken_port_is_named(digits_run: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(
            SettingError, match=r"^port: got \d+ \(Address already in use\); must be a free port, or 0 for any$"
        ):
            bind_socket("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(SettingError, match=r"^host: got 192\.0\.2\.1 \(.*\); must be an address of this machine$"):
        bind_socket("192.0.2.1", 0)
    with pytest.raises(SettingError, match=r"^host: got no\.such\.invalid \(.*\); must be an address of this machine$"):
        bind_socket("no.such.invalid", 0)


@pytest.mark.slow
@case("images", "the demo with the default host: answers on 127.0.0.1 only")
def test_the_command_serves_on_loopback_alone_until_it_is_interrupted(
    digits_run: Path, command_environment: dict[str, str]
) -> None:
    command = [sys.executable, "-m", "lenet_pl.demo", f"run=[{digits_run},{digits_run}]", "port=0"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, env=command_environment, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().split()[0]
            assert address.startswith("http://127.0.0.1:")
            with urllib.request.urlopen(f"{address}/runs", timeout=60) as reply:
                assert reply.read().count(b"lenet5 on digits") == 2
            port = int(address.rpartition(":")[2])
            with contextlib.closing(socket.socket()) as other, pytest.raises(OSError, match="refused"):
                other.connect(("127.0.0.2", port))
        finally:
            os.kill(process.pid, signal.SIGINT)
            start = time.monotonic()
            process.wait(timeout=60)
            assert time.monotonic() - start < 60
        assert process.returncode == 0
        assert process.stdout.read().split() == ["stopped"]
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (["run=nowhere"], 1, "run: nowhere is not a folder"),
        (["port=99999"], 2, "port: got 99999"),
        (["run=[]"], 2, "run"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], code: int, why: str, tmp_path: Path, command_environment: dict[str, str]
) -> None:
    done = run_forked("lenet_pl.demo", *arguments, cwd=tmp_path, env=command_environment)
    assert done.returncode == code
    (line,) = done.stderr.strip().splitlines()
    assert why in line
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named(digits_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lenet_pl.demo import demo
    from lenet_pl.settings import compose as composition
    from lenet_pl.settings.demo import DemoSettings

    monkeypatch.delitem(sys.modules, "lenet_pl.demo.server")
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(SettingError, match=r"^demo: needs the package fastapi; pip install 'lenet_pl\[demo\]'$"):
        demo(composition.compose("demo", DemoSettings, [f"run={digits_run}"]))
