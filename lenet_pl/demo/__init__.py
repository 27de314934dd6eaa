"""Draw a digit and see how a network classifies it: `python -m lenet_pl.demo run=<folder>`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lenet_pl.errors import SettingError
from lenet_pl.settings import TrainSettings
from lenet_pl.settings.compose import compose
from lenet_pl.settings.demo import DemoSettings


def demo(settings: DemoSettings) -> None:
    """Serve the page until the process is interrupted.

    Args:
        settings: The validated settings.

    Raises:
        UserError: A run cannot be used, the address is not available, or a package of the extra `demo` is missing.
    """
    try:
        from lenet_pl.demo.server import create_app
        from lenet_pl.web.server import bind_socket, serve
    except ModuleNotFoundError as error:
        raise SettingError(f"demo: needs the package {error.name}; pip install 'lenet_pl[demo]'") from None

    socket = bind_socket(settings.host, settings.port)
    with socket:
        app = create_app(load_runs(settings), settings.photo, settings.host)
        print(f"http://{settings.host}:{socket.getsockname()[1]} (press Ctrl-C to stop)", flush=True)
        try:
            serve(app, socket)
        except KeyboardInterrupt:  # the normal way to stop the server
            print("\nstopped", flush=True)


def load_runs(settings: DemoSettings) -> list[Any]:
    """Load the runs as a list of `TrainedRun`; without a run, train one on scikit-learn's digits first."""
    import tempfile

    from lenet_pl.inference.trained_run import load_run, open_runs

    if settings.run is None and settings.ckpt_path is None:
        from lenet_pl.train import train

        print("no run given: training LeNet-5 on scikit-learn's digits", flush=True)
        with tempfile.TemporaryDirectory() as place:
            train(compose("train", TrainSettings, ["run=unused", "logger=none"]), Path(place))
            return [load_run(Path(place) / "checkpoints" / "best.ckpt")]
    return list(open_runs(settings))
