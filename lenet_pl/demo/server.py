"""The application of the page, with limits on uploads."""

import threading
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles

from lenet_pl.demo.answer import classify_image
from lenet_pl.errors import DataError, printable
from lenet_pl.image_io.decode import ACCEPTED, MAX_BYTES
from lenet_pl.inference.trained_run import TrainedRun
from lenet_pl.settings.predict import PhotoSettings
from lenet_pl.web.server import LOOPBACK, new_app, read_body, reject

PAGE = Path(__file__).parent / "page"
MAX_UPLOAD = 5_000_000  # bytes
UPLOAD_LIMIT = f"{MAX_UPLOAD // 1_000_000} MB"
FORMATS = ACCEPTED.replace(f"{MAX_BYTES // 1_000_000} MB", UPLOAD_LIMIT)  # the decoder's limit is that of files
KIND = "application/octet-stream"


def create_app(runs: list[TrainedRun], photo: PhotoSettings, host: str = LOOPBACK[0]) -> FastAPI:
    """Build the application: the page, `GET /runs`, and `POST /runs/<number>` with an image as its body.

    Args:
        runs: The trained networks that the page offers.
        photo: The preprocessing that makes an image look like the training images.
        host: The address of the server, as for `new_app`.
    """
    app = new_app(host)
    network_lock = threading.Lock()  # Grad-CAM and feature maps register hooks on the network

    def answer(number: int, content: bytes) -> dict[str, Any]:
        with network_lock:
            return classify_image(runs[number], content, photo)

    async def list_runs() -> list[dict[str, Any]]:
        return [
            {"name": printable(run.name), "classes": list(map(printable, run.classes)), "side": run.side}
            for run in runs
        ]

    async def classify(number: int, request: Request) -> Response:
        if not 0 <= number < len(runs):
            return reject(404, f"run: got {number}; must be 0 to {len(runs) - 1}")
        content = await read_body(
            request, KIND, MAX_UPLOAD, f"image: got more than {UPLOAD_LIMIT}; must be at most {UPLOAD_LIMIT}"
        )
        if isinstance(content, Response):
            return content
        try:
            return JSONResponse(await run_in_threadpool(answer, number, content))
        except DataError as error:
            return reject(422, str(error).replace(ACCEPTED, FORMATS))

    app.get("/runs")(list_runs)
    app.post("/runs/{number}")(classify)
    app.mount("/", StaticFiles(directory=PAGE, html=True))
    return app
