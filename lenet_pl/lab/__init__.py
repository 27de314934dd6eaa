"""Train networks on a page and look inside while they learn: `python -m lenet_pl.lab`."""

from __future__ import annotations

from lenet_pl.cli.subprocess_job import start_fork_server
from lenet_pl.errors import SettingError
from lenet_pl.settings.lab import LabSettings


def lab(settings: LabSettings) -> None:
    """Serve the page until the process is interrupted, then stop the trainings; each can be resumed.

    Args:
        settings: The validated settings.

    Raises:
        UserError: The address or the folder is not available, or a package of the extra `demo` is missing.
    """
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as error:
        raise SettingError(f"lab: needs the package {error.name}; pip install 'lenet_pl[demo]'") from None
    start_fork_server()  # it imports torch while this process does
    from lenet_pl.lab.server import create_app
    from lenet_pl.lab.trainings import Trainings
    from lenet_pl.web.server import bind_socket, serve

    with bind_socket(settings.host, settings.port) as socket, Trainings(settings) as trainings:
        app = create_app(settings, trainings)
        print(f"http://{settings.host}:{socket.getsockname()[1]} (press Ctrl-C to stop)", flush=True)
        try:
            serve(app, socket, trainings.hang_up)
        except KeyboardInterrupt:  # the normal way to stop the server
            print("\nstopped", flush=True)
