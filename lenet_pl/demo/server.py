"""The HTTP server of the page, by default on this machine only, with limits on uploads."""

import errno
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

from lenet_pl.demo.answer import classify_image
from lenet_pl.errors import DataError, SettingError, printable
from lenet_pl.image_io.decode import ACCEPTED, MAX_BYTES
from lenet_pl.inference.trained_run import TrainedRun
from lenet_pl.settings.predict import PhotoSettings

PAGE = Path(__file__).parent / "page"
MAX_UPLOAD = 5_000_000  # bytes
UPLOAD_LIMIT = f"{MAX_UPLOAD // 1_000_000} MB"
FORMATS = ACCEPTED.replace(f"{MAX_BYTES // 1_000_000} MB", UPLOAD_LIMIT)  # the decoder's limit is that of files
KIND = (
    "application/octet-stream"  # not allowed in a cross-origin request without a preflight, which this server rejects
)
LOOPBACK = ("127.0.0.1", "localhost")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def bind_socket(host: str, port: int) -> sockets.socket:
    """Open a listening socket.

    Args:
        host: An address of this machine.
        port: The TCP port; 0 for any free port.

    Raises:
        SettingError: The port is in use or not permitted, or the host is not an address of this machine.
    """
    listener = sockets.socket(sockets.AF_INET6 if ":" in host else sockets.AF_INET)
    listener.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        why = error.strerror or error
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            raise SettingError(f"port: got {port} ({why}); must be a free port, or 0 for any") from None
        raise SettingError(f"host: got {host} ({why}); must be an address of this machine") from None
    return listener


def create_app(runs: list[TrainedRun], photo: PhotoSettings, host: str = LOOPBACK[0]) -> FastAPI:
    """Build the application: the page, `GET /runs`, and `POST /runs/<number>` with an image as its body.

    Args:
        runs: The trained networks that the page offers.
        photo: The preprocessing that makes an image look like the training images.
        host: The address of the server. On loopback, requests for other host names are rejected, which prevents DNS
            rebinding.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(LOOPBACK) if host in LOOPBACK else ["*"])
    network_lock = threading.Lock()  # Grad-CAM and feature maps register hooks on the network

    def answer(number: int, content: bytes) -> dict[str, Any]:
        with network_lock:
            return classify_image(runs[number], content, photo)

    async def add_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await call_next(request)
        response.headers.update(HEADERS)
        return response

    async def list_runs() -> list[dict[str, Any]]:
        return [
            {"name": printable(run.name), "classes": list(map(printable, run.classes)), "side": run.side}
            for run in runs
        ]

    async def classify(number: int, request: Request) -> Response:
        if not 0 <= number < len(runs):
            return _reject(404, f"run: got {number}; must be 0 to {len(runs) - 1}")
        if request.headers.get("content-type") != KIND:
            return _reject(415, f"content-type: must be {KIND}")
        content = bytearray()
        async for chunk in request.stream():
            content += chunk
            if len(content) > MAX_UPLOAD:
                return _reject(413, f"image: got more than {UPLOAD_LIMIT}; must be at most {UPLOAD_LIMIT}")
        try:
            return JSONResponse(await run_in_threadpool(answer, number, bytes(content)))
        except DataError as error:
            return _reject(422, str(error).replace(ACCEPTED, FORMATS))

    app.middleware("http")(add_headers)
    app.get("/runs")(list_runs)
    app.post("/runs/{number}")(classify)
    app.mount("/", StaticFiles(directory=PAGE, html=True))
    return app


def serve(app: FastAPI, socket: sockets.socket) -> None:
    """Handle requests until the process is interrupted."""
    uvicorn.Server(uvicorn.Config(app, log_level="warning", server_header=False)).run(sockets=[socket])


def _reject(status: int, why: str) -> Response:
    return JSONResponse({"error": printable(why)}, status)
