"""Draw a digit and watch a network read it: `python -m lenet_pl.demo run=<folder>`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lenet_pl.command import run_command
from lenet_pl.composition import compose
from lenet_pl.errors import SettingError
from lenet_pl.settings import TrainSettings
from lenet_pl.settings.demo import DemoSettings


def demo(settings: DemoSettings, _: Path | None = None) -> None:
    """Serve the page until it is interrupted.

    Args:
        settings: checked settings.

    Raises:
        UserError: a run cannot be used, the port is taken, or the packages of the extra `demo` are not installed.
    """
    try:
        from lenet_pl.demo.server import create_app, listen, serve
    except ModuleNotFoundError as error:
        raise SettingError(f"demo: needs the package {error.name}; pip install 'lenet_pl[demo]'") from None

    socket = listen(settings.host, settings.port)
    with socket:
        app = create_app(load_runs(settings), settings.photo, settings.host)
        print(f"http://{settings.host}:{socket.getsockname()[1]} (end with Ctrl-C)", flush=True)
        try:
            serve(app, socket)
        except KeyboardInterrupt:  # the way in which it is meant to end
            print("\nended", flush=True)


def load_runs(settings: DemoSettings) -> list[Any]:
    """Open the runs that are asked for as `TrainedRun`s; without any, train one on scikit-learn's digits."""
    import tempfile

    from lenet_pl.trained import load_run, open_runs

    if settings.run is None and settings.ckpt is None:
        from lenet_pl.train import train

        print("no run given: training LeNet-5 on scikit-learn's digits", flush=True)
        with tempfile.TemporaryDirectory() as place:
            train(compose("train", TrainSettings, ["run=unused", "logger=none"]), Path(place))
            return [load_run(Path(place) / "checkpoints" / "best.ckpt")]
    return list(open_runs(settings))


if __name__ == "__main__":
    run_command("demo", DemoSettings, demo)
