"""Soak test: repeated training, evaluation, prediction and serving leak no memory, file handles or threads.

Command: `pytest -s -m long tests/promises/test_soak.py`, with `--soak-minutes` for a duration other than 20 minutes.
"""

import contextlib
import gc
import http.client
import io
import json
import os
import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import uvicorn
from conftest import Compose
from PIL import Image

from lenet_pl.demo.server import KIND, MAX_UPLOAD, create_app
from lenet_pl.evaluate import evaluate
from lenet_pl.inference.trained_run import load_run
from lenet_pl.predict import predict
from lenet_pl.settings import compose as composition
from lenet_pl.settings.evaluate import EvaluateSettings
from lenet_pl.settings.predict import PhotoSettings, PredictSettings
from lenet_pl.train import train
from lenet_pl.web.server import bind_socket

RUN = (
    "trainer.max_epochs=2",
    "trainer.limit_train_batches=10",
    "trainer.accelerator=cpu",
    "trainer.num_threads=1",
    "augment=affine",
    "model.dropout=0.2",
    "callbacks.progress_bar=false",
    "callbacks.model_summary=false",
)
LOGGERS = ("none", "tensorboard", "csv", "both")
# Least squares fit over all cycles after a third of the time. The noise of the allocator is a few MB. A leak of one
# image per request, or of one network per cycle, exceeds the limit several times
GROWTH = 30.0  # MB that the fitted line may rise


@dataclass(frozen=True)
class Sample:
    """The resources of the process after a cycle."""

    seconds: float
    memory: float  # resident memory, MB
    handles: int
    threads: int


def sample(begun: float) -> Sample:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    memory = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    return Sample(time.monotonic() - begun, memory, len(os.listdir("/proc/self/fd")), threading.active_count())  # noqa: PTH208


def uploads(images: np.ndarray) -> list[tuple[bytes, int]]:
    """List valid and invalid uploads, each with the expected status."""
    good = []
    for pixels in images:
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        good.append((stream.getvalue(), 200))
    bomb = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (1).to_bytes(4, "big") + (80_000_000).to_bytes(4, "big")
    bad = [b"", b"GIF89a", b"<svg/>", good[0][0][:60], bomb + b"\x08\0\0\0\0" + bytes(40)]
    return [*good, *((content, 422) for content in bad), (b"\x89PNG\r\n\x1a\n" + bytes(MAX_UPLOAD), 413)]


class Client(threading.Thread):
    """Post images in a loop, and count the responses."""

    def __init__(self, port: int, contents: list[tuple[bytes, int]]) -> None:
        super().__init__(daemon=True)
        self.port, self.contents = port, contents
        self.answers: Counter[int] = Counter()
        self.wrong: list[str] = []
        self.ends = threading.Event()

    def run(self) -> None:
        chance = random.Random(0)
        while not self.ends.is_set():
            content, expected = chance.choice(self.contents)
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            with contextlib.closing(connection):
                try:
                    connection.request("POST", "/runs/0", content, {"content-type": KIND})
                    reply = connection.getresponse()
                    answer = json.loads(reply.read())
                except (
                    ConnectionError,
                    TimeoutError,
                ) as error:  # the server closes the connection if the upload is too large
                    if expected != 413:
                        self.wrong.append(repr(error))
                    continue
            self.answers[reply.status] += 1
            if reply.status != expected or ("classes" in answer) != (expected == 200):
                self.wrong.append(f"{reply.status} for {content[:20]!r}: {answer}")
            time.sleep(0.05)


@pytest.fixture
def client(digits_run: Path) -> Iterator[Client]:
    """Create a client of the demo, whose server runs in a thread."""
    run = load_run(digits_run / "checkpoints" / "best.ckpt")
    photo = PhotoSettings(invert="auto", remove_background="auto", center="auto")
    with bind_socket("127.0.0.1", 0) as socket:
        server = uvicorn.Server(uvicorn.Config(create_app([run], photo), log_level="warning"))
        serving = threading.Thread(target=server.run, kwargs={"sockets": [socket]}, daemon=True)
        serving.start()
        client = Client(socket.getsockname()[1], uploads(run.load_data().test_set.images[:20, 0].numpy()))
        client.start()
        yield client
        client.ends.set()
        client.join()
        server.should_exit = True
        serving.join()


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_nothing_leaks(client: Client, compose: Compose, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    seconds = 60 * pytestconfig.getoption("--soak-minutes")
    begun = time.monotonic()
    samples: list[Sample] = []
    while time.monotonic() - begun < seconds:
        folder = tmp_path / str(len(samples))
        folder.mkdir()
        with contextlib.redirect_stdout(io.StringIO()):
            logger = LOGGERS[len(samples) % len(LOGGERS)]
            train(compose(*RUN, f"logger={logger}", f"seed={len(samples)}"), folder)
            evaluate(composition.compose("evaluate", EvaluateSettings, [f"run='{folder}'"]))
            images = f"images='{folder}/misclassified.png'"
            predict(composition.compose("predict", PredictSettings, [f"run='{folder}'", images]))
        shutil.rmtree(folder)
        samples.append(sample(begun))
    late = [one for one in samples if one.seconds > seconds / 3]
    slope, _ = np.polyfit([one.seconds for one in late], [one.memory for one in late], 1)
    growth = slope * (late[-1].seconds - late[0].seconds)
    first, last = late[0], late[-1]
    print(
        f"\n{seconds / 60:.0f} minutes, {len(samples)} cycles, answers {dict(client.answers)}; after a third and at "
        f"the end: {first.memory:.0f} and {last.memory:.0f} MB (line: {growth:+.1f}), {first.handles} and "
        f"{last.handles} handles, {first.threads} and {last.threads} threads"
    )
    assert client.wrong == []
    assert min(client.answers[status] for status in (200, 422)) > len(samples)
    assert growth < GROWTH
    # A request may be in progress when the sample is taken
    assert min(one.handles for one in late[-5:]) <= max(one.handles for one in late[:5])
    assert min(one.threads for one in late[-5:]) <= max(one.threads for one in late[:5])
    assert plt.get_fignums() == []
