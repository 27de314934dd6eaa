import contextlib
import csv
import importlib.util
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors
from torch.nn import functional

from lenet_pl.data.choose_data import choose_data
from lenet_pl.data.dataset_splits import DatasetSplits
from lenet_pl.data.image_dataset import ImageDataset
from lenet_pl.errors import SettingError
from lenet_pl.inspect import inspect, neighbors
from lenet_pl.inspect.duplicates import digest_all, exact_duplicates, near_duplicates
from lenet_pl.inspect.findings import Finding, count_findings, of_kind, rows_of
from lenet_pl.inspect.images import AllImages
from lenet_pl.inspect.outliers import modified_z_scores, nearly_empty, outliers, unusual
from lenet_pl.inspect.statistics import compute_statistics, per_class
from lenet_pl.settings.compose import compose
from lenet_pl.settings.inspect import InspectSettings

CLASSES = tuple("0123456789")


def settings(*overrides: str) -> InspectSettings:
    return compose("inspect", InspectSettings, ["output_dir=unused", *overrides])


def all_images(*splits: tuple[torch.Tensor, torch.Tensor], classes: tuple[str, ...] = CLASSES) -> AllImages:
    train, test = (ImageDataset(pixels, labels) for pixels, labels in splits)
    return AllImages.of(DatasetSplits("made", train, test, classes))


@pytest.fixture(scope="module")
def digits() -> AllImages:
    return AllImages.of(choose_data("digits").load(32).source)


@pytest.fixture(scope="module")
def large() -> tuple[torch.Tensor, torch.Tensor]:
    """600 digits enlarged to 20×20 px in the middle of 28×28 px, as those of MNIST."""
    bunch = load_digits()
    small = torch.from_numpy(bunch.images[:600]).float()[:, None] * 255 / 16
    pixels = functional.interpolate(small, 20, mode="bicubic").clamp(0, 255).round().to(torch.uint8)
    return functional.pad(pixels, (4, 4, 4, 4)), torch.from_numpy(bunch.target[:600]).long()


def test_statistics_are_those_of_numpy(digits: AllImages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lenet_pl.inspect.images.BLOCK_BYTES", 4 * 64 * 100)  # blocks of 100 images
    found, table = compute_statistics(digits), per_class(digits, compute_statistics(digits))
    pixels, labels = digits.take(torch.arange(len(digits))).numpy(), digits.labels.numpy()
    assert np.allclose(found.brightness, pixels.mean((1, 2, 3)), atol=1e-3)
    assert np.allclose(found.contrast, pixels.std((1, 2, 3)), atol=1e-3)
    assert (found.minimum, found.maximum) == (pixels.min(), pixels.max())
    train = np.arange(len(digits)) < len(digits.splits["train"])
    assert np.allclose(found.mean_images[0, 3], pixels[train & (labels == 3)].mean(0))
    assert table["3"]["images"] == {"train": (train & (labels == 3)).sum(), "test": (~train & (labels == 3)).sum()}
    assert table["3"]["contrast"] == pytest.approx(pixels[labels == 3].std((1, 2, 3)).mean(), abs=0.01)


def test_nearest_neighbors_are_those_of_scikit_learn(digits: AllImages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbors, "ROWS", 300)
    vectors = neighbors.thumbnails(digits)
    found = neighbors.nearest_neighbors(vectors)
    distances, _ = NearestNeighbors(n_neighbors=2, metric="cosine").fit(vectors).kneighbors(vectors)
    assert torch.allclose(1 - found.similarity.double(), torch.from_numpy(distances[:, 1]).double(), atol=1e-5)
    assert torch.allclose((vectors * vectors[found.index]).sum(1), found.similarity, atol=1e-5)
    assert (found.index != torch.arange(len(digits))).all()


def test_correlations_are_those_of_numpy(large: tuple[torch.Tensor, torch.Tensor]) -> None:
    images = all_images(large, large)
    moved = functional.pad(large[0], (2, -2, -1, 1))  # to the right by 2 px, and up by 1
    both = all_images(large, (moved, large[1]))
    first, second = torch.arange(50), torch.arange(600, 650)
    assert torch.allclose(neighbors.aligned_correlation(both, first, second), torch.ones(50), atol=1e-6)
    other = neighbors.aligned_correlation(images, first, first + 1)
    exact = [np.corrcoef(*images.take(torch.tensor([k, k + 1])).flatten(1).numpy())[0, 1] for k in range(50)]
    assert (other.numpy() >= np.array(exact) - 1e-6).all()


def test_exact_duplicates_are_found_within_and_between_splits_whatever_their_label(
    large: tuple[torch.Tensor, torch.Tensor],
) -> None:
    pixels, labels = large[0].clone(), large[1].clone()
    pixels[7], pixels[500] = pixels[3], pixels[4]
    labels[7], labels[500] = labels[3], (labels[4] + 1) % 10
    images = all_images((pixels[:400], labels[:400]), (pixels[400:], labels[400:]))
    found = exact_duplicates(digest_all(images))
    assert [(one.index, one.other) for one in found] == [(7, 3), (500, 4)]
    counts = count_findings(found, images)["exact_duplicate"]
    assert counts == {"images": 2, "between_splits": 1, "different_labels": 1}
    assert rows_of(found, images)[1][2:5] == ("test", 100, CLASSES[labels[500]])


def recompressed(image: torch.Tensor) -> torch.Tensor:
    stream = io.BytesIO()
    Image.fromarray(image[0].numpy()).save(stream, "JPEG", quality=80)
    return torch.from_numpy(np.array(Image.open(stream)))[None]


def test_shifted_brightened_and_recompressed_images_are_near_duplicates(
    large: tuple[torch.Tensor, torch.Tensor],
) -> None:
    pixels = large[0]
    planted = {
        "shifted": functional.pad(pixels[:60], (1, -1, -2, 2)),
        "brightness": (pixels[60:120].float() * 0.6 + 40).round().to(torch.uint8),
        "recompressed": torch.stack([recompressed(image) for image in pixels[120:180]]),
    }
    images = all_images(large, (torch.cat(list(planted.values())), large[1][:180]))
    digests, content = digest_all(images), compute_statistics(images).content
    near = neighbors.nearest_neighbors(neighbors.thumbnails(images))
    found = {(one.index, one.other) for one in near_duplicates(images, digests, content, near, 0.99)}
    for start, kind in zip((0, 60, 120), planted, strict=True):
        recall = np.mean([(600 + k, k) in found for k in range(start, start + 60)])
        assert recall >= 0.95, kind
    by_chance = [pair for pair in found if pair[0] - pair[1] != 600]
    assert len(by_chance) <= 0.05 * len(found)


def test_copies_do_not_hide_near_duplicates(large: tuple[torch.Tensor, torch.Tensor]) -> None:
    pixels, labels = large[0][:50], large[1][:50]
    dim = (pixels[:1].float() * 0.6 + 40).round().to(torch.uint8)
    images = all_images(
        (torch.cat([pixels, pixels[:1]]), torch.cat([labels, labels[:1]])), (torch.cat([dim, dim]), labels[:2])
    )
    digests, content = digest_all(images), compute_statistics(images).content
    near = neighbors.distinct_neighbors(neighbors.thumbnails(images), digests)
    found = near_duplicates(images, digests, content, near, 0.99)
    assert {one.index for one in found} >= {51, 52}
    assert {(one.index, one.other) for one in exact_duplicates(digests)} == {(50, 0), (52, 51)}


def test_empty_and_unusual_images_are_found(large: tuple[torch.Tensor, torch.Tensor]) -> None:
    pixels, labels = large[0].clone(), large[1].clone()
    pixels[5], pixels[6] = 0, 200
    pixels[6, 0, 3, 3] = 0  # one pixel
    pixels[9] = (pixels[9].float() * 0.2).to(torch.uint8) + 200
    pixels[20] = torch.randint(0, 256, (1, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    images = all_images((pixels[:500], labels[:500]), (pixels[500:], labels[500:]))
    statistics = compute_statistics(images)
    assert {one.index for one in nearly_empty(statistics)} == {5, 6}
    assert {one.index for one in unusual("brightness", images, statistics.brightness)} >= {6, 9}
    near = neighbors.nearest_neighbors(neighbors.thumbnails(images))
    assert 20 in [one.index for one in outliers(images, near)[:3]]


def test_the_score_of_outliers_is_that_of_iglewicz_and_hoaglin() -> None:
    values = torch.tensor([1.0, 2, 3, 4, 100])
    assert modified_z_scores(values).tolist() == pytest.approx([0.6745 * (x - 3) / 1 for x in (1, 2, 3, 4, 100)])
    assert modified_z_scores(torch.ones(5)).tolist() == [0] * 5
    assert modified_z_scores(torch.tensor([1.0] * 9 + [11]))[-1] == pytest.approx(10 / (1.2533 * 1))


def test_planted_label_errors_come_first(digits: AllImages) -> None:
    pytest.importorskip("cleanlab")
    from cleanlab.filter import find_label_issues

    from lenet_pl.inspect.label_errors import predict_out_of_fold, rank_label_errors

    generator = torch.Generator().manual_seed(7)
    flipped = torch.randperm(len(digits), generator=generator)[:90]
    labels = digits.labels.clone()
    labels[flipped] = (labels[flipped] + torch.randint(1, 10, (90,), generator=generator)) % 10
    with contextlib.redirect_stdout(io.StringIO()) as said:
        wrong = replace(digits, labels=labels)
        probabilities = predict_out_of_fold(wrong, 0, settings("network=lenet5", "folds=2", "epochs=6"))
    ranked = rank_label_errors(labels, probabilities)
    found = of_kind(ranked, "label_error")
    issues = find_label_issues(labels.numpy(), probabilities.numpy(), return_indices_ranked_by="self_confidence")
    assert [one.index for one in found] == issues.tolist()
    missed = (probabilities.argmax(1) != labels).nonzero()[:, 0]
    assert {one.index for one in ranked} >= set(missed.tolist())
    hits = [one.index in set(flipped.tolist()) for one in found]
    assert np.mean(hits[:50]) >= 0.98  # precision of the first
    assert sum(hits) / 90 >= 0.75  # recall
    right = [one.suggested == digits.labels[one.index] for one, hit in zip(found, hits, strict=True) if hit]
    assert np.mean(right) >= 0.9
    scores = [one.score for one in found]
    assert scores == sorted(scores)
    assert said.getvalue().count("fold") == 2


def write_folder(place: Path) -> None:
    bunch = load_digits()
    generator = np.random.default_rng(0)
    for number, (image, label) in enumerate(zip(bunch.images[:120], bunch.target[:120], strict=True)):
        folder = place / ("<b>one" if label == 1 else str(label))
        folder.mkdir(parents=True, exist_ok=True)
        levels = (image * 255 / 16).astype(np.uint8)
        Image.fromarray(levels).resize((24, 24 if number else 30)).save(folder / f"{number}.png")
    Image.open(place / "0" / "0.png").save(place / "2" / "copy.png")
    Image.fromarray(np.zeros((24, 24), np.uint8)).save(place / "3" / "empty.png")
    Image.fromarray(generator.integers(0, 255, (24, 24), np.uint8)).save(place / "4" / "noise.png")


def test_a_folder_of_images_is_inspected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(tmp_path / "images")
    out = tmp_path / "out"
    out.mkdir()
    results = inspect(
        settings("data=folder", f"data.path={tmp_path / 'images'}", "label_errors=false", "max_pictures=5"), out
    )
    assert json.loads((out / "inspect.json").read_text()) == results
    assert results["sizes"] == {"24×24": 121, "24×30": 2}
    assert sum(results["images"].values()) == 123
    assert "label_error" not in results["findings"]  # not searched
    with (out / "findings.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    kinds = {(row["kind"], *sorted([row["image"], row["other_image"]])) for row in rows}
    assert ("exact_duplicate", "0/0.png", "2/copy.png") in kinds
    assert ("nearly_empty", "", "3/empty.png") in kinds
    page = (out / "inspect.html").read_text()
    assert "&lt;b&gt;one" in page
    assert "<b>one" not in page
    assert "http" not in page  # self-contained
    assert page.count("data:image/png;base64,") == len(list(out.glob("*.png")))
    assert "exact duplicates" in capsys.readouterr().out


def test_the_whole_command_is_deterministic(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("cleanlab")
    found: list[Any] = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        given = ("data=fake", "data.num_images=60", "data.test_images=20", "data.classes=3", "data.channels=3")
        more = ("data.image_size=12", "folds=2", "epochs=2", "network=lenet5")
        inspect(settings(*given, *more, f"output_dir={tmp_path / name}"), tmp_path / name)
        results = json.loads((tmp_path / name / "inspect.json").read_text())
        kept = {key: value for key, value in results.items() if key not in ("settings", "total_seconds")}
        found.append((kept, (tmp_path / name / "findings.csv").read_text()))
    assert found[0] == found[1]
    assert found[0][0]["accuracy"] is not None


def test_what_cannot_be_done_is_an_error(digits: AllImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lenet_pl.inspect.label_errors import predict_out_of_fold

    few = replace(digits, labels=torch.where(digits.labels == 1, 2, digits.labels))
    few.labels[:2] = 1
    with pytest.raises(SettingError, match="folds: got 5, but 1 has 2 images; must be at most 2"):
        predict_out_of_fold(few, 0, settings())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingError, match=r"label_errors: needs the package cleanlab; pip install 'lenet_pl\[inspect"):
        inspect(settings(), tmp_path)


def test_findings_of_no_other_kind_have_an_empty_other_image(digits: AllImages) -> None:
    row = rows_of([Finding("label_error", 3, 0.25, suggested=7)], digits)[0]
    assert row == ("label_error", 1, "train", digits.names[3], str(int(digits.labels[3])), 0.25, "7", "", "", "")
