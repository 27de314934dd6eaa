import contextlib
import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Run
from torch import Tensor

from lenet_pl.data.transform import Preprocess
from lenet_pl.errors import SettingError
from lenet_pl.export import build_classifier, export, formats, quantized
from lenet_pl.export.c_text import comment_text, identifier, string_literal
from lenet_pl.export.verify import find_fault
from lenet_pl.inference.trained_run import load_run
from lenet_pl.models import get_model
from lenet_pl.settings import compose as composition
from lenet_pl.settings.export import ExportSettings

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
from lenet_pl.export.c_file import CFile  # noqa: E402
from lenet_pl.export.int8 import write_int8  # noqa: E402
from lenet_pl.export.integer_resize import IntegerPreprocess  # noqa: E402

GCC = shutil.which("gcc") or ""
needs_gcc = pytest.mark.skipif(not GCC, reason="needs gcc to compile the C file")
QUICK = ("repeats=1", "min_run_time=0.001", "batch_sizes=[1]", "num_threads=1", "int8.num_images=64")
WARNINGS = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow", "-Wmissing-prototypes"]
NAMES = ["zero", 'a"quote', "back\\slash", "tri??/graph", "猫\n", "\\x41", "7", "%s%d", "", "ten */ /*"]


def asked(*overrides: str) -> ExportSettings:
    return composition.compose("export", ExportSettings, [*QUICK, *overrides])


def classify(source: Path, images: Tensor, *flags: str) -> list[str]:
    """Compile the program of a C file, and return its lines for uint8 (N, C, h, w)."""
    program = source.with_suffix(".out")
    subprocess.run([GCC, *WARNINGS, *flags, "-DLENET_PL_MAIN", source, "-o", program], check=True)
    pixels = images.permute(0, 2, 3, 1).contiguous().numpy().tobytes()
    return subprocess.run([program], input=pixels, capture_output=True, check=True).stdout.decode().split("\n")[:-1]


@pytest.fixture(scope="module")
def exported(digits_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    folder, printed = tmp_path_factory.mktemp("small") / "out", io.StringIO()
    with contextlib.redirect_stdout(printed):
        results = export(asked(f"run='{digits_run}'", f"output_dir='{folder}'", "formats=[int8,c]"))
    return folder, {row["format"]: row for row in results["files"]}, printed.getvalue()


def test_the_int8_file_has_int8_weights_per_channel_and_keeps_the_accuracy(
    exported: tuple[Path, dict[str, Any], str],
) -> None:
    folder, rows, printed = exported
    model = onnx.load(folder / "model_int8.onnx")
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    users = {node.input[0]: node for node in model.graph.node if node.op_type == "DequantizeLinear"}
    weights = [(arrays[n], arrays[users[n].input[1]]) for n in users if n in arrays and arrays[n].dtype == "int8"]
    assert sorted(len(array) for array, _ in weights) == [6, 10, 16, 84, 120]
    assert all(scale.shape == (len(array),) for array, scale in weights)
    assert {entry.key for entry in model.metadata_props} >= {"classes", "mean", "std"}
    row = rows["int8"]
    assert row["calibration_images"] == 64
    assert row["validation_accuracy"] >= row["checkpoint_validation_accuracy"] - 0.01 > 0.9
    assert row["check"]["same_class"] >= 355 < row["check"]["images"] == 359
    assert f"accuracy {row['validation_accuracy']:.4f} on {row['validation_images']} validation images" in printed


@needs_gcc
def test_the_c_file_gives_every_bit_of_the_int8_logits(exported: tuple[Path, dict[str, Any], str]) -> None:
    _, rows, printed = exported
    assert rows["c"]["check"] == {"images": 359, "same_class": 359, "largest_difference": 0.0}
    assert f"RAM {rows['c']['ram_bytes']:,} bytes" in printed
    assert rows["c"]["images_per_second"]["1"] > 0


@needs_gcc
def test_the_c_program_classifies_pixels_and_has_the_memory_that_it_states(
    exported: tuple[Path, dict[str, Any], str], digits_run: Path
) -> None:
    folder, rows, _ = exported
    images = load_run(digits_run / "checkpoints" / "best.ckpt").load_data().test_set.images[:50]
    expected = formats.read_onnx(folder / "model_int8.onnx")(images).argmax(1)
    for flags in (("-O0",), ("-O2", "-fsanitize=undefined,address", "-fno-sanitize-recover=all")):
        assert [line.split("\t")[0] for line in classify(folder / "model.c", images, *flags)] == [
            str(int(k)) for k in expected
        ]
    text = (folder / "model.c").read_text()
    assert text.isascii()
    assert f"RAM: {rows['c']['ram_bytes']:,} bytes" in text
    assert f"Flash: {rows['c']['constant_bytes']:,} bytes" in text
    bss = int(rows["c"]["object_file"].partition("bss ")[2].split()[0])
    assert rows["c"]["ram_bytes"] <= bss < rows["c"]["ram_bytes"] + 128  # gaps between the buffers
    ended = subprocess.run([folder / "model.out"], input=b"x" * 70, capture_output=True, check=False)
    assert (ended.returncode, ended.stdout.count(b"\n")) == (1, 1)
    assert b"64 bytes each" in ended.stderr


@needs_gcc
@pytest.mark.parametrize(("name", "settings", "side", "channels", "fit"), [
    ("lenet5", {"pooling": "avg", "activation": "gelu", "norm": "batch_norm", "padding": "same"}, 27, 3, "pad"),
    pytest.param("lenet5_1998", {}, 28, 1, "pad", marks=pytest.mark.slow),
    pytest.param("lenet1", {}, 28, 1, "pad", marks=pytest.mark.slow),
    pytest.param("lenet_bn", {"activation": "silu"}, 45, 3, "pad", marks=pytest.mark.slow),
    pytest.param("cnn3_bn", {"pooling": "strided_conv", "activation": "tanh"}, 20, 1, "resize", marks=pytest.mark.slow),
    pytest.param("lenet5", {"activation": "elu", "image_size": 20}, 20, 1, "pad", marks=pytest.mark.slow),
    pytest.param("lenet5", {"activation": "leaky_relu", "kernel_size": [4, 3], "pool_size": [3, 1]}, 32, 3, "pad",
                 marks=pytest.mark.slow),
])  # fmt: skip
def test_every_layer_gives_every_bit_of_the_int8_logits(
    name: str, settings: dict[str, Any], side: int, channels: int, fit: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = get_model(name, 10, channels, **settings)
    images = (torch.rand(80, channels, side, side) ** 3 * 255).to(torch.uint8)
    images[:, :, :, ::3] //= 2
    mean, std = [0.2, 0.5, 0.4][:channels], [0.3, 0.1, 0.2][:channels]
    description = {"model": {"image_size": model.image_size}, "classes": NAMES, "channels": channels, "side": side}
    description |= {"resize_mode": fit, "mean": mean, "std": std, "background": 200}
    with torch.no_grad():
        model.train()(Preprocess(model.image_size, fit, mean, std, 200)(images))  # statistics of batch norm
    write_int8(
        build_classifier(model, description), images, tmp_path / "int8.onnx", 18, description, asked("run=x").int8
    )
    logits = formats.read_onnx(tmp_path / "int8.onnx")(images)
    source = tmp_path / "model.c"
    source.write_text(CFile(onnx.load(tmp_path / "int8.onnx"), description, "net", "x */ ??/ é").text())
    predict = quantized.load_c(source, "net", 10, tmp_path, GCC)
    torch.testing.assert_close(predict(images), logits, rtol=0, atol=0)
    lines = "\n".join(classify(source, images, "-O1")) + "\n"
    assert lines == "".join(f"{int(k)}\t{NAMES[int(k)]}\n" for k in logits.argmax(1))


@pytest.mark.parametrize(("side", "fit", "channels"), [(8, "resize", 1), (45, "pad", 3), (300, "resize", 1)])
def test_resizing_in_integers_is_that_of_training_to_a_gray_level(side: int, fit: str, channels: int) -> None:
    images = torch.randint(0, 256, (3, channels, side, side), dtype=torch.uint8)
    mean, std = [0.0] * channels, [1.0] * channels
    exact = Preprocess(32, fit, mean, std)(images)
    torch.testing.assert_close(IntegerPreprocess(side, image_size=32, fit=fit, mean=mean, std=std)(images), exact,
                               rtol=0, atol=0.7 / 255)  # fmt: skip


def test_without_a_compiler_the_c_file_is_written_and_said_to_be_unchecked(
    digits_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(quantized, "find_compiler", lambda: None)
    export(asked(f"run='{digits_run}'", f"output_dir='{tmp_path}'", "formats=[c]", "c.name=digits", "num_images=5"))
    assert {path.name for path in tmp_path.iterdir()} == {"model.c", "export.json"}
    (row,) = json.loads((tmp_path / "export.json").read_text())["files"]
    assert (row["check"], row["images_per_second"], row["name"]) == (None, None, "digits")
    assert "not checked, for want of a C compiler" in " ".join(capsys.readouterr().out.split())
    assert "int digits_predict(const uint8_t *image);" in (tmp_path / "model.c").read_text()


def test_a_normalization_per_image_is_refused_by_name() -> None:
    model = get_model("lenet5", norm="group_norm")
    with pytest.raises(SettingError, match=r"formats: c does not support GroupNorm \(features\.norm1\)"):
        quantized.refuse_layers(model, ["int8", "c"])
    quantized.refuse_layers(model, ["int8"])


def test_a_loss_of_accuracy_and_another_class_are_faults() -> None:
    row = {"format": "int8", "check": {"images": 9, "same_class": 5, "largest_difference": 1.0}}
    row |= {"checkpoint_validation_accuracy": 0.95, "validation_accuracy": 0.945}
    assert find_fault(row, 1e-4, 0.01) is None
    assert "must lose at most int8.max_accuracy_drop=0.004" in str(find_fault(row, 1e-4, 0.004))
    assert "5 of 9 images get the class of the 8-bit ONNX" in str(find_fault(row | {"format": "c"}, 1e-4, 1))


@pytest.mark.parametrize(
    ("text", "name"), [("lenet5_digits", "lenet5_digits"), ("3 cats & é", "model_3_cats"), ("??", "model"), ("_x", "x")]
)
def test_names_in_c_are_identifiers(text: str, name: str) -> None:
    assert identifier(text) == name


def test_text_in_c_is_ascii_without_trigraphs_and_comment_ends() -> None:
    assert string_literal('a"??/é1') == r'"a\"\?\?/\303\2511"'
    assert comment_text("x */ ??/ é\n") == "x __ ___ __"


@pytest.mark.parametrize(
    ("override", "answer"),
    [
        ("run=[a,b]", "run: got an ensemble of 2 runs; must be one run, because a file has one network"),
        ("tta=shift", "tta: unknown setting; files contain the network alone; only evaluate and predict take tta"),
    ],
)
def test_ensembles_and_test_time_augmentation_are_refused_by_name(override: str, answer: str, run: Run) -> None:
    code, (line,) = run(override, command="export")
    assert (code, line) == (2, f"error: {answer}")


@pytest.mark.parametrize("override", ["c.name=3x", "c.name=a-b", "int8.calibration=max", "int8.percentile=100"])
def test_wrong_settings_of_the_formats_are_answered(override: str) -> None:
    with pytest.raises(SettingError, match=override.partition("=")[0].replace(".", r"\.")):
        asked("run=somewhere", override)
