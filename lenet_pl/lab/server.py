"""The application of the page: what it may ask for, and the stream of events that it receives."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles

from lenet_pl.display.text import as_json
from lenet_pl.errors import SettingError, UserError, printable
from lenet_pl.lab.choices import command_line, compose_settings, describe_choices, key_of
from lenet_pl.lab.preview import describe_network, draw_augmentation
from lenet_pl.lab.trainings import Trainings
from lenet_pl.settings.lab import LabSettings
from lenet_pl.web.server import new_app, read_body, reject

PAGE = Path(__file__).parent / "page"
MAX_BODY = 65_536  # bytes
MAX_STREAMS = 64  # pages that are open at once
LOOKS_EVERY = 0.1  # s between two looks for news
BEATS_EVERY = 15.0  # s between two comments that keep a quiet stream open

Body = dict[str, Any]


def create_app(settings: LabSettings, trainings: Trainings) -> FastAPI:
    """Build the application.

    - `GET /choices`: what `describe_choices` returns, with the limits of the lab
    - `POST /preview` and `POST /augmentation` with `settings`: the network, and random transforms of some images
    - `POST /runs` with `settings`, and perhaps `vary` (`key` and `values`) and `paused`: start trainings
    - `POST /runs/<name>` with `action` and `value`: pause, go, step, speed, lr, images, stop, kill, resume, rewind
    - `GET /events`: server-sent events, each with what has changed since the one before

    Args:
        settings: The settings of the lab.
        trainings: Its trainings.
    """
    app = new_app(settings.host)
    streams: set[object] = set()

    async def answer(request: Request, work: Callable[[Body], Any]) -> Response:
        content = await read_body(request, "application/json", MAX_BODY, f"got more than {MAX_BODY} bytes")
        if isinstance(content, Response):
            return content
        try:
            body = json.loads(content)
            if not isinstance(body, dict) or not isinstance(body.get("settings", {}), dict):
                raise SettingError("body: must be an object, with settings by dotted key")
            return JSONResponse(await run_in_threadpool(work, body))
        except UserError as error:
            return reject(422, str(error), key=key_of(error))
        except (ValueError, RecursionError):
            return reject(400, "body: not JSON")

    async def list_choices() -> Body:
        return await run_in_threadpool(describe_choices, settings) | {
            "max_running": settings.max_running,
            "folder": printable(settings.output_dir),
        }

    async def preview(request: Request) -> Response:
        def work(body: Body) -> Body:
            chosen = body.get("settings", {})
            network = describe_network(compose_settings(settings, chosen))
            return network | {"command": command_line(settings, chosen)}

        return await answer(request, work)

    async def augmentation(request: Request) -> Response:
        return await answer(request, lambda body: draw_augmentation(compose_settings(settings, body["settings"])))

    async def start(request: Request) -> Response:
        def work(body: Body) -> Body:
            vary = body.get("vary")
            if vary is not None and (not isinstance(vary, dict) or not isinstance(vary.get("values"), list)):
                raise SettingError("vary: must have a key and a list of values")
            varied = (str(vary.get("key")), vary["values"]) if vary else None
            return {"names": trainings.start(body.get("settings", {}), varied, paused=body.get("paused") is True)}

        return await answer(request, work)

    async def action(name: str, request: Request) -> Response:
        def work(body: Body) -> Body:
            if body.get("action") == "rewind":
                return {"name": trainings.rewind(name, body.get("value"))}
            trainings.action(name, str(body.get("action")), body.get("value"))
            return {"name": name}

        return await answer(request, work)

    async def events() -> Response:
        if len(streams) >= MAX_STREAMS:
            return reject(503, f"{len(streams)} pages are open; close one, or reload this page later")
        return StreamingResponse(_follow(trainings, streams), media_type="text/event-stream")

    app.get("/choices")(list_choices)
    app.get("/events")(events)
    app.post("/preview")(preview)
    app.post("/augmentation")(augmentation)
    app.post("/runs")(start)
    app.post("/runs/{name}")(action)
    app.mount("/", StaticFiles(directory=PAGE, html=True))
    return app


async def _follow(trainings: Trainings, streams: set[object]) -> AsyncIterator[str]:
    """Yield an event with all that is known, then one whenever there is news.

    A page that is slow gets fewer events, each with the latest view.
    """
    mark = object()
    streams.add(mark)
    known: dict[str, dict[str, Any]] = {}
    quiet, first = 0.0, True
    try:
        while not trainings.closing:
            news = {t.name: found for t in trainings.all() if (found := t.history.news(known.setdefault(t.name, {})))}
            if news or first:
                first, quiet = False, 0.0
                yield f"data: {as_json(news, indent=None, allow_nan=False)}\n"
            elif quiet >= BEATS_EVERY:
                quiet = 0.0
                yield ": still here\n\n"
            quiet += LOOKS_EVERY
            await asyncio.sleep(LOOKS_EVERY)
    finally:
        streams.discard(mark)
