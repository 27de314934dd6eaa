"""A server of one page, by default on this machine only, which asks nobody else."""

import errno
import socket as sockets
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import JSONResponse
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lenet_pl.errors import SettingError, printable

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


def new_app(host: str) -> FastAPI:
    """Build an application without routes, whose responses have the headers above.

    Args:
        host: The address of the server. On loopback, requests for other host names are rejected, which prevents DNS
            rebinding.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(LOOPBACK) if host in LOOPBACK else ["*"])
    app.add_middleware(_Headers)
    return app


def serve(app: FastAPI, socket: sockets.socket, stop: Callable[[], None] = lambda: None) -> None:
    """Handle requests until the process is interrupted.

    Args:
        app: The application.
        socket: The listening socket.
        stop: A function that is called when a signal has arrived, to end responses that have no end of their own.
    """
    _Server(uvicorn.Config(app, log_level="warning", server_header=False), stop).run(sockets=[socket])


def reject(status: int, why: str, **more: str) -> Response:
    """Build the response to a request that is not served, with its reason in one line."""
    return JSONResponse({"error": printable(why), **more}, status)


async def read_body(request: Request, kind: str, limit: int, too_large: str) -> bytes | Response:
    """Read the body of a request, or return the response that rejects it.

    Args:
        request: The request.
        kind: The content type that it must have. One that no form can send is not allowed in a cross-origin request
            without a preflight, which these servers reject.
        limit: The largest size in bytes.
        too_large: The reason to reject a larger one.
    """
    if request.headers.get("content-type") != kind:
        return reject(415, f"content-type: must be {kind}")
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > limit:
            return reject(413, too_large)
    return bytes(content)


class _Headers:
    """Middleware that adds `HEADERS`, also to responses that are sent in pieces."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self.app(scope, receive, with_headers)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._stop = stop

    def handle_exit(self, *args: object) -> None:
        self._stop()
        super().handle_exit(*args)  # type: ignore[arg-type]
