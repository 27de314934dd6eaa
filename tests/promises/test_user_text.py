"""Names of classes, titles and folders are shown literally and written unchanged everywhere."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import pytest
import torch
from conftest import OddRun
from matplotlib import font_manager
from matplotlib.font_manager import fontManager
from matplotlib.text import Text
from odd_names import NAMES, SHOWN
from PIL import Image
from promise import case
from rich.cells import cell_len
from rich.table import Table
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lenet_pl.artifacts.plots import draw_confusion, draw_samples
from lenet_pl.cli.command import run_command
from lenet_pl.compare.groups import Comparison
from lenet_pl.compare.plots import draw_validation
from lenet_pl.display import figure, fonts
from lenet_pl.display.console import Console
from lenet_pl.display.figure import Figure, save_figures
from lenet_pl.display.fonts import SystemFonts
from lenet_pl.display.text import SPELL, as_csv, as_json, as_markdown, label, lines, shorten, width
from lenet_pl.settings import TrainSettings
from lenet_pl.settings.compare import CompareSettings
from lenet_pl.settings.evaluate import EvaluateSettings
from lenet_pl.settings.explain import ExplainSettings
from lenet_pl.settings.export import ExportSettings
from lenet_pl.settings.predict import PredictSettings
from lenet_pl.train.resume import begin_or_resume

CLASSES = sorted(NAMES.values())  # in the order of a directory listing
SHORT = {kind: name for kind, name in SHOWN.items() if kind != "long"}
each_name = pytest.mark.parametrize("kind", NAMES)

Do = Callable[..., str]


def drawn(some: matplotlib.figure.Figure) -> np.ndarray[Any, Any]:
    stream = io.BytesIO()
    some.savefig(stream, format="png", dpi=100)
    return np.asarray(Image.open(stream))


@pytest.fixture
def do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Do:
    """Run a command in this process with an output encoding; return its output, and assert exit code 0."""

    def _do(verb: str, *arguments: str, encoding: str = "cp1251") -> str:
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2))
        monkeypatch.setattr(sys, "argv", [verb, *arguments])
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
        monkeypatch.chdir(tmp_path)
        kinds = {"evaluate": EvaluateSettings, "explain": ExplainSettings, "export": ExportSettings}
        kinds |= {"predict": PredictSettings, "compare": CompareSettings, "train": TrainSettings}
        module = import_module(f"lenet_pl.{verb}")
        prepare = {"prepare": begin_or_resume} if verb == "train" else {}
        code: object = 0
        try:
            run_command(verb, kinds[verb], getattr(module, verb), **prepare)
        except SystemExit as end:
            code = end.code
        err.flush()
        assert (code, err.buffer.getvalue()) == (0, b"")  # type: ignore[attr-defined]
        out.flush()
        return str(out.buffer.getvalue().decode(encoding))  # type: ignore[attr-defined]

    return _do


class _Shown(HTMLParser):
    """Parser that collects the text of a page, its tags, and the content of `<bdi>`."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.isolated: list[str] = []
        self.inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        self.inside = tag == "bdi"
        if self.inside:
            self.isolated.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.isolated[-1] += data


@case(
    "situations",
    "29 unusual class names, trained with an ASCII stdout: exit code 0, unchanged names in results.json",
)
@pytest.mark.slow
def test_a_training_where_only_ascii_can_be_printed(odd_run: OddRun) -> None:
    said, told = odd_run.ended.stdout.decode("ascii"), odd_run.ended.stderr.decode("ascii")
    assert odd_run.ended.returncode == 0, told
    assert "Warning" not in told
    assert "Traceback" not in told
    results = json.loads((odd_run.folder / "results.json").read_text(encoding="utf-8"))
    assert list(results["per_class_accuracy"]) == CLASSES
    assert results["data"] == "[bold]$x$ <i>"
    assert "lenet5 on [bold]$x$ <i>, seed 0" in said
    assert "lr changed 0x" in said
    table = said[said.index("lenet5 on [bold]") :]
    rows = [line.rstrip() for line in table.splitlines()[1:] if line.strip() and not line.startswith("note: ")]
    assert {len(row) for row in rows} == {80}  # aligned, in ASCII
    squeezed = re.sub(r"[|\s]+", "", table)
    tested = [name for name, value in results["per_class_accuracy"].items() if value is not None]
    shown = [label(name).encode("ascii", SPELL).decode().replace(" ", "") for name in tested]
    assert len(shown) > 10
    assert [name for name in shown if f"{name}0." not in squeezed and f"{name}1." not in squeezed] == []
    assert {path.name for path in odd_run.folder.glob("*.png")} == {
        f"{name}.png" for name in ("confusion_matrix", "curves", "feature_maps", "filters", "misclassified", "samples")
    }


@case("situations", "class names without a font on the machine: one note per run, with the characters")
@pytest.mark.slow
def test_characters_without_a_font_are_noted_once(odd_run: OddRun) -> None:
    notes = [line for line in odd_run.ended.stdout.decode().splitlines() if line.startswith("note: no font")]
    assert len(notes) <= 1  # none if the machine has fonts for all names
    assert b"Glyph" not in odd_run.ended.stderr
    assert b"findfont" not in odd_run.ended.stderr


@case(
    "situations",
    "report.html of classes named <b>, &amp; or in right-to-left script: plain text in <bdi>, no injected tags",
)
@pytest.mark.slow
def test_the_report_shows_names_as_text(odd_run: OddRun) -> None:
    shown = _Shown((odd_run.folder / "report.html").read_text(encoding="utf-8"))
    assert not shown.tags & {"b", "i"}
    assert set(SHOWN.values()) <= set(shown.isolated)


@case("situations", "TensorBoard of a run with unusual names: images and hyperparameters are readable")
@pytest.mark.slow
def test_tensorboard_reads_it(odd_run: OddRun) -> None:
    board = EventAccumulator(str(odd_run.folder / "tensorboard"), {"images": 0}).Reload()
    assert {"confusion_matrix", "samples", "misclassified"} <= set(board.Tags()["images"])
    content = b"".join(path.read_bytes() for path in (odd_run.folder / "tensorboard").iterdir())
    assert b"[bold]$x$ <i>" in content


@case("situations", "a run with unusual names is resumed: the same names")
@pytest.mark.slow
def test_it_is_resumed(odd_run: OddRun, do: Do, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(odd_run.folder, tmp_path / "$again$"))
    before = json.loads((folder / "results.json").read_bytes())
    (folder / "results.json").unlink()
    do("train", f"run='{folder}'", "resume=true", encoding="ascii")
    after = json.loads((folder / "results.json").read_bytes())
    assert after["per_class_accuracy"] == before["per_class_accuracy"]
    assert after["metrics"] == before["metrics"]


@case(
    "situations",
    "a run with unusual names is evaluated with a cp1251 stdout: unchanged names in files, each shown in the tables",
)
@pytest.mark.slow
def test_it_is_evaluated(odd_run: OddRun, do: Do, tmp_path: Path) -> None:
    said = do("evaluate", f"run='{odd_run.folder}'", f"output_dir='{tmp_path}/out'")
    results = json.loads((tmp_path / "out" / "results.json").read_bytes())
    assert results["confusion_matrix"]["classes"] == CLASSES == list(results["per_class"])
    for name in ("[red]x", "[bold]", ":smile:", "$10_$20", r"\u732b", r"line\nbreak", r"\u202eevil"):
        assert f"| {name} " in said


@case("situations", "a run with unusual names is explained: unchanged names in explain.json")
@pytest.mark.slow
def test_it_is_explained(odd_run: OddRun, do: Do, tmp_path: Path) -> None:
    pytest.importorskip("captum")
    place = f"output_dir='{tmp_path}/out'"
    said = do(
        "explain",
        f"run='{odd_run.folder}'",
        place,
        "num_images=4",
        "methods=[feature_maps,grad_cam]",
        "tensorboard=true",
    )
    images = json.loads((tmp_path / "out" / "explain.json").read_bytes())["images"]
    assert len(images) == 4
    assert all(row["true"] in CLASSES and row["predicted"] in CLASSES for row in images)
    assert "+---" in said
    assert "─" not in said


@case("situations", "a run with unusual names is exported: unchanged class names in safetensors and ONNX")
@pytest.mark.slow
def test_it_is_exported(odd_run: OddRun, do: Do, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    from lenet_pl.inference.safetensors_file import read_safetensors

    do(
        "export",
        f"run='{odd_run.folder}'",
        f"output_dir='{tmp_path}/out'",
        "formats=[safetensors,onnx]",
        "repeats=1",
        "min_run_time=0.01",
    )
    assert read_safetensors(tmp_path / "out" / "model.safetensors")[1]["classes"] == CLASSES
    metadata = {entry.key: entry.value for entry in onnx.load(tmp_path / "out" / "model.onnx").metadata_props}
    assert json.loads(metadata["classes"]) == CLASSES
    assert json.loads((tmp_path / "out" / "export.json").read_bytes())["metadata"]["classes"] == CLASSES


@case(
    "situations",
    "photos named `=1.png`, `[red]$x$.png`, with 240 letters or an invalid byte: predicted, unchanged names in files",
)
@pytest.mark.slow
def test_photos_with_odd_names_are_predicted(odd_run: OddRun, do: Do, tmp_path: Path) -> None:
    photo = next((odd_run.data / "猫").iterdir())
    (tmp_path / "photos").mkdir()
    names = ["=1.png", "[red]$x$.png", f"{'n' * 240}.png", "bad\udcff.png", "猫.png"]
    for name in names:
        shutil.copy(photo, tmp_path / "photos" / name)
    do("predict", f"run='{odd_run.folder}'", "images=photos", "output_dir=out", encoding="ascii")
    written = json.loads((tmp_path / "out" / "predictions.json").read_bytes())["images"]
    assert [list(row["probabilities"]) for row in written] == [CLASSES] * len(names)
    with (tmp_path / "out" / "predictions.csv").open(encoding="utf-8", newline="") as stream:
        heading, *rows = csv.reader(stream)
    encodable = [name.encode(errors="backslashreplace").decode() for name in CLASSES]
    assert heading[5:-2] == [f"probability of {name}" for name in encodable]
    assert all(row[1].removeprefix("'") in encodable for row in rows)
    assert not any(cell.startswith(("=", "+", "@")) for row in rows for cell in row)
    do(
        "explain",
        f"run='{odd_run.folder}'",
        "images=photos",
        "output_dir=explained",
        "methods=[feature_maps]",
        encoding="ascii",
    )
    assert len(list((tmp_path / "explained").glob("feature_maps_*.png"))) == len(names)


@case("situations", "runs with unusual titles are compared: unchanged titles in CSV and JSON, no markup in Markdown")
@pytest.mark.slow
def test_it_is_compared(odd_run: OddRun, do: Do, tmp_path: Path) -> None:
    said = do("compare", f"runs='{odd_run.folder}'", "group_by=[data.display_name]", f"output_dir='{tmp_path}/out'")
    assert "[bold]$x$ <i>" in said
    assert (
        json.loads((tmp_path / "out" / "compare.json").read_bytes())["groups"][0]["data.display_name"]
        == "[bold]$x$ <i>"
    )
    with (tmp_path / "out" / "compare.csv").open(encoding="utf-8", newline="") as stream:
        assert next(csv.DictReader(stream))["data.display_name"] == "[bold]$x$ <i>"
    assert r"| [bold]\$x\$ \<i> |" in (tmp_path / "out" / "compare.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoding", "locale", "jobs"),
    [
        pytest.param(
            "cp1251",
            {},
            ["-m", "seed=0,1"],  # one process per job
            marks=case(
                "situations", "a sweep redirected as cp1251, which lacks ×: exit code 0, all results, x instead"
            ),
        ),
        pytest.param(
            "ascii",
            {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
            ["seed=0"],
            marks=case("situations", "a C locale with an ASCII stdout: exit code 0, results.json, x instead of ×"),
        ),
    ],
)
def test_output_of_another_encoding(encoding: str, locale: dict[str, str], jobs: list[str], tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG", "PYTHONIOENCODING"))}
    environment |= (locale or {"PYTHONIOENCODING": encoding}) | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "lenet_pl.train", *jobs, "data=digits", f"run={tmp_path}/run", "logger=none"]
    ended = subprocess.run(
        [*command, "trainer.max_epochs=1"], env=environment, capture_output=True, check=False, timeout=300
    )
    said = ended.stdout.decode(encoding)
    assert (ended.returncode, ended.stderr) == (0, b"")
    count = len(list((tmp_path / "run").rglob("results.json")))
    assert count == said.count("lr changed 0x") == (2 if "-m" in jobs else 1)
    assert ("2 jobs in" in said) is ("-m" in jobs)


@each_name
@case("situations", "each unusual name in a plot: drawn literally, never as math, without a warning")
def test_pictures(kind: str) -> None:
    name, shown = NAMES[kind], SHOWN[kind]
    confusion = draw_confusion(torch.eye(2, dtype=torch.int64), [name, "other"])
    samples = draw_samples(torch.zeros(1, 1, 8, 8, dtype=torch.uint8), [lines(name)], f"of {shown}")
    plain = Figure()
    plain.subplots().plot([1], [1], label=f"in a legend: {name}")
    plain.axes[0].legend()
    with warnings.catch_warnings(action="error"):
        for some in (confusion, samples, plain):
            drawn(some)
    labels = [label.get_text() for label in confusion.axes[0].get_yticklabels()]
    assert labels == [shown if kind != "long" else "long 0123456789…0123456789 end", "other"]
    for some in (confusion, samples, plain):
        assert not any(text.get_parse_math() for text in some.findobj(Text))
    assert samples.get_suptitle() == f"of {shown}"
    if kind in SHORT and "\n" not in name:
        assert samples.axes[0].texts[0].get_text() == shown


@case("situations", "a class named `$A$`: the plot contains the dollar signs, as with matplotlib's parse_math=False")
def test_dollars_are_drawn() -> None:
    ours, theirs = Figure(figsize=(2, 1)), matplotlib.figure.Figure(figsize=(2, 1))
    ours.text(0.1, 0.5, "$A$ $5")
    theirs.text(0.1, 0.5, "$A$ $5", parse_math=False)
    italic = matplotlib.figure.Figure(figsize=(2, 1))
    italic.text(0.1, 0.5, "$A$ \\$5")
    assert np.array_equal(drawn(ours), drawn(theirs))
    assert not np.array_equal(drawn(ours), drawn(italic))


@case("situations", "a search over values that look like broken math: all three plots are drawn")
def test_pictures_of_a_search(tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna")
    from lenet_pl.search.plots import draw_study

    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    choices = [r"$\frac$", "$A$", "猫"]
    study.optimize(
        lambda trial: (
            choices.index(trial.suggest_categorical("data.display_name", choices))
            + trial.suggest_float("lr", 1e-4, 1, log=True)
        ),
        n_trials=12,
    )
    with warnings.catch_warnings(action="error"):
        assert draw_study(study, tmp_path, "loss") == []
    assert len(list(tmp_path.glob("*.png"))) == 3


def test_powers_of_ten_stay_powers() -> None:
    pair = []
    for kind in (Figure, matplotlib.figure.Figure):
        some = kind(figsize=(4, 3), layout="constrained")
        some.subplots().loglog([1, 1e6], [1e-3, 1e3])
        pair.append(drawn(some))
    assert np.array_equal(*pair)


def write_font(path: Path, characters: str) -> None:
    """Write a font that draws each of the characters as a black square."""
    builder = pytest.importorskip("fontTools.fontBuilder").FontBuilder(1000, isTTF=True)
    pen = import_module("fontTools.pens.ttGlyphPen").TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 700), (700, 700), (700, 0)):
        pen.lineTo(corner)
    pen.closePath()
    square = pen.glyph()
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord(c): "square" for c in characters})
    builder.setupGlyf({".notdef": square, "square": square})
    builder.setupHorizontalMetrics({".notdef": (800, 0), "square": (800, 0)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Square Gothic", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)


@pytest.fixture
def few_fonts(monkeypatch: pytest.MonkeyPatch) -> SystemFonts:
    """Restrict the available fonts to those of matplotlib."""
    own = [entry for entry in fontManager.ttflist if "mpl-data" in entry.fname]
    monkeypatch.setattr(fontManager, "ttflist", own)
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [])
    found = SystemFonts()
    monkeypatch.setattr(figure, "FONTS", found)
    monkeypatch.setattr(fonts, "FONTS", found)
    return found


@pytest.mark.usefixtures("few_fonts")
@case("situations", "Japanese names without a font: boxes, one note with the characters, no warning")
def test_without_a_font_there_is_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    some = {
        f"p{k}": draw_confusion(torch.eye(2, dtype=torch.int64), ["猫", name]) for k, name in enumerate(["犬", "x"])
    }
    with warnings.catch_warnings(action="error"):
        save_figures(tmp_path, some)
        save_figures(tmp_path, some)
    said = capsys.readouterr()
    assert said.out.count("\n") == 1
    assert said.out.startswith("note: no font on this machine contains 犬 猫; plots show boxes instead")
    assert said.err == ""


@case("situations", "Japanese names and a font installed after matplotlib built its font cache: drawn with it, no note")
def test_a_font_that_was_installed_since_is_used(
    few_fonts: SystemFonts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = Figure(figsize=(2, 1))
    boxes.text(0.1, 0.5, "猫 x")
    before = drawn(boxes)
    write_font(tmp_path / "square.ttf", "猫犬")
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(tmp_path / "square.ttf")])
    monkeypatch.setattr(figure, "FONTS", SystemFonts())
    squares = Figure(figsize=(2, 1))
    squares.text(0.1, 0.5, "猫 x")
    save_figures(tmp_path, {"squares": squares})
    assert squares.texts[0].get_fontfamily()[-1] == "Square Gothic"
    assert not np.array_equal(drawn(squares), before)
    assert capsys.readouterr().out == ""
    assert few_fonts.family == {"猫": None}


@pytest.mark.parametrize("encoding", ["utf-8", "cp1251", "ascii"])
@each_name
@case("situations", "each unusual name in a table, in three terminal encodings: shown unchanged, columns aligned")
def test_tables(kind: str, encoding: str) -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=file, width=600, color_system=None)
    table = Table("name", "other ± ×", title=f"title {SHOWN[kind]}", caption=SHOWN[kind])
    table.add_row(SHOWN[kind], "0.5 ± 0.1")
    console.print(table)
    console.print(SHOWN[kind], soft_wrap=True)
    console.print(NAMES[kind])
    file.flush()
    said = file.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    spelt = SHOWN[kind]
    if encoding != "utf-8":
        spelt = spelt.encode(encoding, "backslashreplace").decode(encoding)
    assert said.count(spelt) >= 4 - (kind == "a line break")
    assert "\x1b[31m" not in said
    grid = [line.rstrip() for line in said.splitlines()[1:6]]  # between title and caption
    assert grid[0][0] == ("┏" if encoding == "utf-8" else "+")
    assert len({cell_len(line) for line in grid}) == 1


@each_name
@case("situations", "each unusual name in CSV: read back unchanged, formulas with a leading apostrophe")
def test_csv(kind: str) -> None:
    name = NAMES[kind].encode(errors="backslashreplace").decode()
    text = as_csv([["name", NAMES[kind]], [NAMES[kind], -0.5]])
    text.encode()
    assert list(csv.reader(io.StringIO(text, newline=""))) == [
        ["name", f"'{name}" if name[0] in "=+" else name],
        [f"'{name}" if name[0] in "=+" else name, "-0.5"],
    ]


@pytest.mark.parametrize("formula", ["=1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "＝1"])
def test_no_formula_is_computed(formula: str) -> None:
    assert next(csv.reader(io.StringIO(as_csv([[formula]]), newline=""))) == [f"'{formula}"]


@pytest.mark.parametrize("number", ["-0.5", "+1e-3", "-inf"])
def test_numbers_written_as_text_stay_numbers(number: str) -> None:
    assert as_csv([[number]]) == f"{number}\r\n"


@each_name
def test_json_gives_each_name_back(kind: str) -> None:
    text = as_json({NAMES[kind]: [NAMES[kind]]})
    assert json.loads(text.encode()) == {NAMES[kind]: [NAMES[kind]]}


def test_markdown_reads_no_markup() -> None:
    assert as_markdown("[a](b) *c* <b> $5 `d` e|f _g_ h_i ~~j~~") == (
        r"\[a](b) \*c\* \<b> \$5 \`d\` e\|f \_g\_ h_i \~~j\~~"
    )


@pytest.mark.parametrize(
    ("text", "longest", "expected"),
    [
        ("short", 5, "short"),
        ("class 1 of many", 9, "clas…many"),
        ("猫猫猫猫猫", 7, "猫…猫"),
        ("e\u0301" * 9, 5, "e\u0301e\u0301…e\u0301e\u0301"),
        ("👩\u200d🚀" * 4, 5, "👩…🚀"),
        ("", 3, ""),
        ("ab", 1, "…"),
    ],
)
def test_the_middle_is_left_out(text: str, longest: int, expected: str) -> None:
    assert shorten(text, longest) == expected
    assert width(expected) <= longest


def test_a_legend_names_what_begins_with_an_underscore() -> None:
    class Group:
        values, runs = ("_x_",), ()

        def epochs(self, column: str) -> list[float]:
            return [0.5]

    group: Any = Group()
    group.runs = [group]
    some = Figure()
    draw_validation(some.subplots(), [group], Comparison(["model"], "test/accuracy", [group], [], 0), 1)
    legend = some.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text().strip() for text in legend.get_texts()] == ["_x_"]
