import errno
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from lenet_pl.errors import DataError
from lenet_pl.evaluate import evaluate
from lenet_pl.explain import explain
from lenet_pl.predict import predict
from lenet_pl.runtime.optional_work import optional
from lenet_pl.settings.compose import compose
from lenet_pl.settings.evaluate import EvaluateSettings
from lenet_pl.settings.explain import ExplainSettings
from lenet_pl.settings.predict import PredictSettings


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (RuntimeError("two\nlines"), "RuntimeError: two lines"),
        (ValueError(), "ValueError: no message"),
        (OSError(errno.ENOSPC, "No space left on device", "a.png"), "a.png: No space left on device"),
        (DataError("a.png: damaged"), "a.png: damaged"),
        (MemoryError(), "MemoryError: no message"),
    ],
)
def test_an_error_becomes_a_line(error: Exception, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    notes: list[str] = []
    with optional("a.png", notes):
        raise error
    assert notes == [f"a.png is missing: {line}"]
    assert capsys.readouterr().err == f"note: a.png is missing: {line}\n"


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_signal_is_no_error(stop: type[BaseException]) -> None:
    with pytest.raises(stop), optional("a.png", []):
        raise stop


def work(verb: str, run: Path, out: Path) -> Any:
    """Let a verb write into a folder."""
    where = [f"run={run}", f"output_dir={out}"]
    if verb == "evaluate":
        return evaluate(compose("evaluate", EvaluateSettings, where))
    if verb == "explain":
        return explain(compose("explain", ExplainSettings, [*where, "methods=[filters]"]))
    image = out.parent / "5.png"
    digit = Image.new("L", (28, 28), 255)
    digit.paste(0, (12, 4, 16, 24))
    digit.save(image)
    return predict(compose("predict", PredictSettings, [*where, f"images={image}"]))


WRITTEN = {"evaluate": "results.json", "predict": "predictions.json", "explain": "explain.json"}


@pytest.mark.parametrize("verb", WRITTEN)
def test_what_a_verb_cannot_write_whole_is_not_there(
    verb: str, digits_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("lenet_pl.runtime.atomic_files.os.fsync", full)
    with pytest.raises(OSError, match=f"No space left on device.*{WRITTEN[verb]}"):
        work(verb, digits_run, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("verb", ["evaluate", "predict"])
def test_a_picture_that_fails_loses_no_result_of_a_verb(
    verb: str, digits_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("a font is broken")

    monkeypatch.setattr(FigureCanvasAgg, "print_png", broken)
    assert work(verb, digits_run, tmp_path / "out")
    assert (tmp_path / "out" / WRITTEN[verb]).exists()
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert all(line.endswith(" is missing: RuntimeError: a font is broken") for line in lines)


def test_explanations_are_pictures_and_their_lack_is_an_error(
    digits_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save: Callable[..., None] = FigureCanvasAgg.print_png

    def broken(canvas: FigureCanvasAgg, stream: IO[bytes], **given: Any) -> None:
        if Path(getattr(stream, "name", "")).name.startswith("network.png"):
            raise RuntimeError("a font is broken")
        save(canvas, stream, **given)

    monkeypatch.setattr(FigureCanvasAgg, "print_png", broken)
    with pytest.raises(DataError, match=r"out: network\.png is missing: RuntimeError: a font is broken$"):
        work("explain", digits_run, tmp_path / "out")
    assert (tmp_path / "out" / "filters.png").exists()
    assert (tmp_path / "out" / "explain.json").exists()
