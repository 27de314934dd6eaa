import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Compose, needs_fashion
from torch import Tensor, nn

from lenet_pl.data.transform import Preprocess
from lenet_pl.errors import DataError, SettingError
from lenet_pl.export import export, formats, load_safetensors
from lenet_pl.inference.trained_run import TrainedRun, load_run
from lenet_pl.settings import compose as composition
from lenet_pl.settings.export import ExportSettings
from lenet_pl.train import train

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
safetensors = pytest.importorskip("safetensors")
QUICK = ("repeats=1", "min_run_time=0.001", "batch_sizes=[1,3]", "num_threads=1")
ROOT = Path(__file__).parent.parent
BATCHES = (1, 7, 300)


def asked(*overrides: str) -> ExportSettings:
    return composition.compose("export", ExportSettings, [*QUICK, *overrides])


def run_onnx(path: Path, images: Tensor) -> Tensor:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def run_torch_export(path: Path, images: Tensor) -> Tensor:
    return torch.export.load(path).module()(images).detach()


def run_safetensors(path: Path, images: Tensor) -> Tensor:
    return load_safetensors(path)(images).detach()


RUNNERS = {"model.onnx": run_onnx, "model.pt2": run_torch_export, "model.safetensors": run_safetensors}


@pytest.fixture(scope="module")
def run(digits_run: Path) -> TrainedRun:
    return load_run(digits_run / "checkpoints" / "best.ckpt")


@pytest.fixture(scope="module")
def command_run(digits_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The folder that the command fills, and the finished process."""
    folder = tmp_path_factory.mktemp("export") / "out"
    arguments = [sys.executable, "-m", "lenet_pl.export", f"run='{digits_run}'", f"output_dir='{folder}'", *QUICK]
    return folder, subprocess.run(arguments, capture_output=True, text=True, timeout=200)


def test_the_command_writes_one_file_for_each_format_and_says_nothing_else(command_run: tuple[Path, Any]) -> None:
    folder, done = command_run
    assert (done.returncode, done.stderr) == (0, "")
    assert {file.name for file in folder.iterdir()} == {*RUNNERS, "export.json"}
    lines = done.stdout.splitlines()
    assert lines[0].strip() == "lenet5 on digits, seed 0"
    for name in RUNNERS:
        assert "all 359" in next(line for line in lines if name in line)


@pytest.mark.parametrize("count", BATCHES)
@pytest.mark.parametrize("file", RUNNERS)
def test_a_file_says_what_the_checkpoint_says(
    file: str, count: int, run: TrainedRun, command_run: tuple[Path, Any]
) -> None:
    images = run.load_data().test_set.images[-count:]
    logits = RUNNERS[file](command_run[0] / file, images)
    torch.testing.assert_close(logits, run.predict_logits(images), rtol=0, atol=1e-4)
    assert logits.shape == (count, 10)


def test_export_json_tells_what_was_written_and_found(run: TrainedRun, command_run: tuple[Path, Any]) -> None:
    results = json.loads((command_run[0] / "export.json").read_text())
    assert results["task"] == "export"
    assert results["metadata"]["classes"] == [str(k) for k in range(10)]
    assert {row["file"] for row in results["files"]} == set(RUNNERS)
    for row in results["files"]:
        assert row["check"]["images"] == row["check"]["same_class"] == 359
        assert row["check"]["largest_difference"] < 1e-4
        assert row["bytes"] == (command_run[0] / row["file"]).stat().st_size
        assert all(speed > 0 for speed in row["images_per_second"].values())
    assert results["versions"]["onnx"] == onnx.__version__


@pytest.mark.parametrize("file", RUNNERS)
def test_no_file_holds_a_path_of_this_machine(file: str, command_run: tuple[Path, Any]) -> None:
    content = (command_run[0] / file).read_bytes()
    for trace in ("/home", "/site-packages", ".py", str(ROOT), str(command_run[0].parent), "stack_trace"):
        assert trace.encode() not in content


def test_onnx_is_sound_and_describes_itself(run: TrainedRun, command_run: tuple[Path, Any]) -> None:
    model = onnx.load(command_run[0] / "model.onnx", load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert not [t.name for t in model.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    (images,) = model.graph.input
    assert images.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [d.dim_param or d.dim_value for d in images.type.tensor_type.shape.dim] == ["batch", 1, 8, 8]
    found = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert found["classes"] == list(run.classes)
    assert (found["mean"], found["std"]) == (run.preprocess.mean, run.preprocess.std)
    assert (found["side"], found["resize_mode"], found["background"], found["channels"]) == (8, "resize", 0, 1)
    assert found["model"]["image_size"] == 32


def test_safetensors_hold_the_checkpoints_weights(run: TrainedRun, command_run: tuple[Path, Any]) -> None:
    with safetensors.safe_open(command_run[0] / "model.safetensors", framework="pt") as file:
        assert set(file.keys()) == set(run.model.state_dict())
        for name, weight in run.model.state_dict().items():
            torch.testing.assert_close(file.get_tensor(name), weight, rtol=0, atol=0)
        assert json.loads(file.metadata()["model"]) == run.settings.model.model_dump()


@pytest.mark.slow
def test_torch_export_needs_no_lenet_pl(run: TrainedRun, command_run: tuple[Path, Any], tmp_path: Path) -> None:
    images = run.load_data().test_set.images[:5]
    torch.save(images, tmp_path / "images.pt")
    program = (
        "import sys, torch; sys.modules['lenet_pl'] = None; torch.set_num_threads(1);"
        "module = torch.export.load(sys.argv[1]).module();"
        "images = torch.load(sys.argv[2], weights_only=True);"
        "torch.save(module(images).detach(), sys.argv[3])"
    )
    paths = [command_run[0] / "model.pt2", tmp_path / "images.pt", tmp_path / "logits.pt"]
    subprocess.run([sys.executable, "-c", program, *paths], check=True, timeout=100)
    logits = torch.load(tmp_path / "logits.pt", weights_only=True)
    torch.testing.assert_close(logits, run.predict_logits(images), rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ("model=lenet_bn", "data=digits", "trainer.limit_train_batches=2"),  # batch norm, dropout
        ("model=cnn3_bn", "data=fake", "data.channels=3", "data.classes=3", "loader.batch_size=32"),  # colour, padding
        ("model=lenet_sigmoid_avg", "data=fake", "data.image_size=45", "data.resize_mode=resize"),  # made smaller
    ],
    ids=lambda overrides: overrides[0],
)
def test_other_networks_and_another_opset_make_the_round_trip(
    overrides: tuple[str, ...], compose: Compose, tmp_path: Path
) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        settings = compose(
            *overrides, "trainer.max_epochs=1", "test=false", "logger=none", "callbacks.progress_bar=false"
        )
        train(settings, tmp_path)
        export(asked(f"run='{tmp_path}'", f"output_dir='{tmp_path / 'out'}'", "opset=21"))
    trained = load_run(tmp_path / "checkpoints" / "best.ckpt")
    images = trained.load_data().test_set.images[:9]
    assert {file.name for file in (tmp_path / "out").iterdir()} == {*RUNNERS, "export.json"}
    assert [entry.version for entry in onnx.load(tmp_path / "out" / "model.onnx").opset_import] == [21]
    for file, runner in RUNNERS.items():
        logits = runner(tmp_path / "out" / file, images)
        torch.testing.assert_close(logits, trained.predict_logits(images), rtol=0, atol=1e-4)


@pytest.mark.slow
@needs_fashion
def test_fashion_makes_the_round_trip(compose: Compose, tmp_path: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        quick = ("trainer.limit_train_batches=30", "trainer.limit_val_batches=1", "test=false", "logger=none")
        train(compose("data=fashion", "trainer.max_epochs=1", *quick, "callbacks.progress_bar=false"), tmp_path)
        results = export(asked(f"run='{tmp_path}'", "formats=[safetensors,torch_export]", "num_images=1500"))
    assert [row["check"]["same_class"] for row in results["files"]] == [1500, 1500]


@pytest.mark.parametrize(("side", "size", "fit", "channels"), [
    (8, 32, "resize", 1),
    (45, 32, "resize", 3),
    (45, 32, "pad", 1),  # larger images are made smaller
    (29, 32, "pad", 3),  # an odd rest
    (28, 28, "pad", 1),
])  # fmt: skip
def test_preprocessing_equals_that_of_training(side: int, size: int, fit: str, channels: int) -> None:
    images = torch.randint(0, 256, (5, channels, side, side), dtype=torch.uint8)
    mean, std = [0.2, 0.5, 0.4][:channels], [0.3, 0.1, 0.2][:channels]
    trained_with = Preprocess(size, fit, mean, std, background=200)
    exported = formats.DeployableModel(
        nn.Identity(), side=side, image_size=size, fit=fit, mean=mean, std=std, background=200
    )
    torch.testing.assert_close(exported(images), trained_with(images), rtol=0, atol=1e-5)


def test_an_interrupted_export_leaves_no_partial_file(
    run: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: Any, file: Any) -> None:
        file.write(b"half a file")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.export, "save", interrupted)
    monkeypatch.setattr(onnx, "save", interrupted)
    for name in ("torch_export", "onnx"):
        with pytest.raises(KeyboardInterrupt):
            export(
                asked(f"run='{run.folder}'", f"output_dir='{tmp_path / name}'", f"formats=[{name}]", "num_images=20")
            )
        assert not list((tmp_path / name).iterdir())


@pytest.mark.parametrize("harm", ["a logit is off", "another class", "not a number"])
def test_a_file_that_says_something_else_is_an_error_with_the_table(
    harm: str,
    run: TrainedRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def damaged(path: Path) -> Callable[[Tensor], Tensor]:
        def predict(images: Tensor) -> Tensor:
            logits = run.predict_logits(images).clone()
            if harm == "another class":
                return logits.roll(1, 1)
            logits[0, 0] = float("nan") if harm == "not a number" else logits[0, 0] - 0.001
            return logits

        return predict

    monkeypatch.setattr(formats, "read_torch_export", damaged)
    with pytest.raises(
        DataError, match=r"model\.pt2: \S+ of 20 images .* must be all images, and at most atol=1\.0e-04"
    ):
        export(asked(f"run='{run.folder}'", f"output_dir='{tmp_path}'", "formats=[torch_export]", "num_images=20"))
    assert "model.pt2" in capsys.readouterr().out
    (row,) = json.loads((tmp_path / "export.json").read_text())["files"]
    assert row["check"]["largest_difference"] > 9e-4
    assert (row["check"]["same_class"] < 20) == (harm != "a logit is off")


@pytest.mark.parametrize(
    ("override", "answer"),
    [
        (
            "formats=[tflite]",
            r"formats\.0: got 'tflite'; must be 'torch_export', 'onnx', 'safetensors', 'int8', 'c' or 'page'",
        ),
        ("formats=[onnx,onnx]", "formats: .*each format once"),
        ("formats=[]", "formats: .*at least 1"),
        ("formats=onnx", "formats: got 'onnx'; must be a list"),
        ("opset=17", "opset: got 17; .*greater than or equal to 18"),
        ("atol=0", "atol: .*greater than 0"),
        ("num_images=0", "num_images: got 0"),
    ],
)
def test_wrong_settings_are_answered(override: str, answer: str) -> None:
    with pytest.raises(SettingError, match=answer):
        asked("run=somewhere", override)


@pytest.mark.parametrize(
    ("package", "format_"),
    [("onnxscript", "onnx"), ("safetensors", "safetensors"), ("onnxruntime", "int8"), ("onnx", "c")],
)
def test_a_missing_package_is_named_only_where_it_is_needed(
    package: str, format_: str, run: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SettingError, match=rf"formats: {format_} needs .*{package}.*lenet_pl\[export\]") as error:
        export(asked(f"run='{run.folder}'", f"output_dir='{tmp_path / 'no'}'", f"formats=[torch_export,{format_}]"))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "no").exists()
    with contextlib.redirect_stdout(io.StringIO()):
        export(
            asked(f"run='{run.folder}'", f"output_dir='{tmp_path / 'yes'}'", "formats=[torch_export]", "num_images=5")
        )
    assert (tmp_path / "yes" / "model.pt2").is_file()


@pytest.mark.parametrize("harm", ["cut", "absent", "no description", "foreign model", "other weights"])
def test_a_damaged_or_foreign_safetensors_file_is_refused(harm: str, run: TrainedRun, tmp_path: Path) -> None:
    path, description = tmp_path / "model.safetensors", {"model": {"architecture": "os.system"}}
    if harm == "other weights":
        description = {"model": run.settings.model.model_dump(), "channels": 3, "classes": ["a", "b"]}
    if harm != "absent":
        formats.write_safetensors(run.model, path, {} if harm == "no description" else description)
    if harm == "cut":
        path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"model\.safetensors: not") as error:
        load_safetensors(path)
    assert "\n" not in str(error.value)
