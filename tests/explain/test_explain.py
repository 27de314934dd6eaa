import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lenet_pl.cli.command import run_command
from lenet_pl.explain import explain
from lenet_pl.inference.trained_run import load_run
from lenet_pl.settings import compose as composition
from lenet_pl.settings.explain import ExplainSettings

pytest.importorskip("captum")

Ask = Callable[..., tuple[int, list[str]]]


def asked(run: Path, *overrides: str) -> ExplainSettings:
    return composition.compose("explain", ExplainSettings, [f"run={run}", *overrides])


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Ask:
    """Run the command in this process and an empty folder; returns the exit code and the lines on stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")

    def _ask(*arguments: str) -> tuple[int, list[str]]:
        monkeypatch.setattr(sys, "argv", ["explain", *arguments])
        try:
            run_command("explain", ExplainSettings, explain)
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        return code, capsys.readouterr().err.splitlines()

    return _ask


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


@pytest.fixture(scope="module")
def explained(digits_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Two test images, explained with all methods, and for TensorBoard."""
    out = tmp_path_factory.mktemp("explained") / "out"
    return out, explain(asked(digits_run, f"output_dir={out}", "indices=[14,3]", "tensorboard=true", "n_steps=64"))


def test_the_folder_holds_what_was_asked_for(explained: tuple[Path, dict[str, Any]]) -> None:
    out, results = explained
    pictures = {"network", "filters", "attributions", "feature_maps_3", "feature_maps_14"}
    assert names(out) == {f"{name}.png" for name in pictures} | {"explain.json", "tensorboard"}
    assert json.loads((out / "explain.json").read_text()) == results
    for name in pictures:
        with Image.open(out / f"{name}.png") as picture:
            assert len(picture.convert("L").getcolors() or []) > 20
    board = EventAccumulator(str(out / "tensorboard"))
    board.Reload()
    assert set(board.Tags()["images"]) == pictures


def test_the_figures_are_those_of_the_network(explained: tuple[Path, dict[str, Any]], digits_run: Path) -> None:
    run = load_run(digits_run / "checkpoints" / "best.ckpt")
    test = run.load_data().test_set
    logits = run.predict_logits(test.images[[14, 3]])
    empty = run.predict_logits(torch.zeros(1, 1, 8, 8, dtype=torch.uint8))[0]
    for row, index, values in zip(explained[1]["images"], (14, 3), logits, strict=True):
        taken = int(values.argmax())
        assert row["index"] == index
        assert row["true"] == str(int(test.labels[index]))
        assert row["predicted"] == str(taken)
        assert row["probability"] == pytest.approx(float(values.softmax(0)[taken]), abs=1e-5)
        assert row["logit_above_background"] == pytest.approx(float(values[taken] - empty[taken]), abs=1e-3)
        assert abs(row["completeness_delta"]) < 0.2


def test_some_images_are_chosen_where_none_are_named(digits_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    results = explain(asked(digits_run, f"output_dir={out}", "methods=[filters]", "num_images=8"))
    assert names(out) == {"network.png", "filters.png", "explain.json"}
    right = [row["true"] == row["predicted"] for row in results["images"]]
    assert right == [True] * 4 + [False] * 4
    assert len({row["true"] for row in results["images"][:4]}) == 4
    sure = [row["probability"] for row in results["images"][4:]]
    assert sure == sorted(sure, reverse=True)


def test_own_images_are_explained(digits_run: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    digits = load_digits()
    for place in (7, 2):
        pixels = (digits.images[place] * 255 / 16).round().astype("uint8")
        Image.fromarray(pixels).save(tmp_path / "photos" / f"d [{place}] $x.png")
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    out = tmp_path / "out"
    methods = "methods=[feature_maps,occlusion]"
    results = explain(asked(digits_run, f"output_dir={out}", f"images={tmp_path / 'photos'}", methods, "stride=6"))
    assert [Path(row["file"]).name for row in results["images"]] == ["d [2] $x.png", "d [7] $x.png"]
    run = load_run(digits_run / "checkpoints" / "best.ckpt")
    same = torch.from_numpy((digits.images[[2, 7]] * 255 / 16).round()).byte()[:, None]
    sure, taken = run.predict_logits(same).softmax(1).max(1)
    assert [row["predicted"] for row in results["images"]] == [str(k) for k in taken.tolist()]
    assert [row["probability"] for row in results["images"]] == pytest.approx(sure.tolist(), abs=1e-5)
    assert "feature_maps_1_d [7] $x.png" in names(out)
    again = explain(
        asked(
            digits_run, f"output_dir={tmp_path / 'again'}", f"images='{tmp_path}/photos/d ?7*.png'", "methods=[filters]"
        )
    )
    assert [row["file"] for row in again["images"]] == [str(tmp_path / "photos" / "d [7] $x.png")]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["indices=[3,359]"], 2, "indices: got 359; must be 0 to 358"),
        (["indices=[-1]"], 2, "indices.0: got -1"),
        (["indices=[]"], 2, "indices: got []; must be a list of at least 1"),
        (["indices=[1]", "images=a.png"], 2, "indices: got [1] with images=a.png; set only one of them"),
        (["methods=[grad_cams]"], 2, "did you mean grad_cam?"),
        (["methods=[]"], 2, "methods: got []; must be a list of at least 1"),
        (["num_images=0"], 2, "num_images: got 0"),
        (["num_images=2", "window_size=40"], 2, "window_size: got 40; must be 1 to 32 px"),
        (["num_images=2", "stride=7"], 2, "stride: got 7; must be 1 to 6 px"),
        (["images=nowhere.png"], 1, "images: nowhere.png: no such file or directory; must be an image file"),
        (["images=note.png"], 1, "note.png: a text file"),
    ],
)
def test_wrong_input_is_answered_in_one_line(
    ask: Ask, digits_run: Path, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    (tmp_path / "note.png").write_text("no image")
    found, errors = ask(f"run={digits_run}", f"output_dir={tmp_path / 'out'}", *arguments)
    assert (found, len(errors)) == (code, 1)
    assert words in errors[0]
    assert not (tmp_path / "out").exists()


def test_a_run_is_needed(ask: Ask, tmp_path: Path) -> None:
    line = "error: run: got neither run nor ckpt_path; must be run=<run folder> or ckpt_path=<checkpoint file>"
    assert ask() == (2, [line])
    code, errors = ask(f"run={tmp_path / 'nowhere'}")
    assert (code, len(errors)) == (1, 1)
    assert "nowhere is not a folder" in errors[0]


def test_without_captum_one_line_comes_before_any_work(
    ask: Ask, digits_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    assert ask("run=nowhere") == (2, ["error: explain: needs captum; pip install 'lenet_pl[explain]'"])
    code, errors = ask(
        f"run={digits_run}", f"output_dir={tmp_path / 'out'}", "methods=[filters,feature_maps]", "indices=[0]"
    )
    assert (code, errors) == (0, [])
    assert names(tmp_path / "out") == {"network.png", "filters.png", "feature_maps_0.png", "explain.json"}


def test_a_network_without_finite_numbers_is_refused(ask: Ask, digits_run: Path, tmp_path: Path) -> None:
    content = torch.load(digits_run / "checkpoints" / "best.ckpt", weights_only=True)
    content["state_dict"]["model.features.conv1.weight"][:] = 3e38  # finite, and too large to go on with
    torch.save(content, tmp_path / "large.ckpt")
    code, errors = ask(f"ckpt_path={tmp_path / 'large.ckpt'}", "indices=[0]")
    assert (code, len(errors)) == (1, 1)
    assert "NaN or infinite logits" in errors[0]
