"""The server of the page: on this machine, with limits on what it takes."""

import socket as sockets
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles

from lenet_pl.demo.answer import answer
from lenet_pl.errors import DataError, SettingError, printable
from lenet_pl.settings.predict import PhotoSettings
from lenet_pl.trained import TrainedRun

PAGE = Path(__file__).parent / "page"
MAX_UPLOAD = 5_000_000  # bytes
KIND = "application/octet-stream"  # a page from elsewhere would have to ask first, and is refused
LOOPBACK = ("127.0.0.1", "localhost")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def listen(host: str, port: int) -> sockets.socket:
    """Take the address.

    Raises:
        SettingError: it is in use, or not of this machine.
    """
    taken = sockets.socket(sockets.AF_INET6 if ":" in host else sockets.AF_INET)
    taken.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
    try:
        taken.bind((host, port))
        taken.listen()
    except OSError as error:
        taken.close()
        why = error.strerror or error
        raise SettingError(
            f"port: {host}:{port}: {why}; accepted is a free port at an address of this machine"
        ) from None
    return taken


def create_app(runs: list[TrainedRun], photo: PhotoSettings, host: str = LOOPBACK[0]) -> FastAPI:
    """Build the application: the page, `GET /runs`, and `POST /runs/<number>` with an image as its body.

    Args:
        runs: networks that the page offers.
        photo: how images come to look like the training images.
        host: address that it is reached by; on loopback, names that others give this machine are refused.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(LOOPBACK) if host in LOOPBACK else ["*"])
    turn = threading.Lock()  # explanations hang on the network while they work

    def look(number: int, content: bytes) -> dict[str, Any]:
        with turn:
            return answer(runs[number], content, photo)

    async def add_headers(request: Request, following: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await following(request)
        response.headers.update(HEADERS)
        return response

    async def list_runs() -> list[dict[str, Any]]:
        return [
            {"name": printable(run.name), "classes": list(map(printable, run.classes)), "side": run.side}
            for run in runs
        ]

    async def classify(number: int, request: Request) -> Response:
        if not 0 <= number < len(runs):
            return _refuse(404, f"run {number}: accepted is 0 to {len(runs) - 1}")
        if request.headers.get("content-type") != KIND:
            return _refuse(415, f"content-type: accepted is {KIND}")
        content = bytearray()
        async for part in request.stream():
            content += part
            if len(content) > MAX_UPLOAD:
                return _refuse(413, f"image: more than {MAX_UPLOAD // 1_000_000} MB, which is the limit")
        try:
            return JSONResponse(await run_in_threadpool(look, number, bytes(content)))
        except DataError as error:
            return _refuse(422, str(error))

    app.middleware("http")(add_headers)
    app.get("/runs")(list_runs)
    app.post("/runs/{number}")(classify)
    app.mount("/", StaticFiles(directory=PAGE, html=True))
    return app


def serve(app: FastAPI, socket: sockets.socket) -> None:
    """Answer requests until the process is interrupted."""
    uvicorn.Server(uvicorn.Config(app, log_level="warning", server_header=False)).run(sockets=[socket])


def _refuse(status: int, why: str) -> Response:
    return JSONResponse({"error": printable(why)}, status)
