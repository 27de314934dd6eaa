import io
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_svmlight_file
from torchvision.datasets.mnist import read_image_file

from lenet_pl.data.decoders import decode_cifar, decode_idx, decode_libsvm
from lenet_pl.errors import DataError

IMAGES = struct.pack(">HBB3i12B", 0, 8, 3, 2, 2, 3, *range(240, 252))


def test_idx_of_bytes_is_read_as_packed() -> None:
    values = decode_idx(IMAGES, "images")
    assert values.dtype == torch.uint8
    assert values.tolist() == [[[240, 241, 242], [243, 244, 245]], [[246, 247, 248], [249, 250, 251]]]


def test_idx_of_bytes_equals_torchvision(tmp_path: Path) -> None:
    (tmp_path / "images").write_bytes(IMAGES)
    assert torch.equal(decode_idx(IMAGES, "images"), read_image_file(str(tmp_path / "images")))


def test_idx_of_big_endian_int32_is_read_as_packed() -> None:
    content = struct.pack(">HBB2i4i", 0, 12, 2, 2, 2, 1, -2, 70_000, 2**31 - 1)
    assert decode_idx(content, "labels").tolist() == [[1, -2], [70_000, 2**31 - 1]]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\0\0\x08", id="three bytes"),
        pytest.param(b"\x1f\x8b\x08\x03" + IMAGES[4:], id="still compressed"),
        pytest.param(b"<html>", id="page"),
        pytest.param(struct.pack(">HBBi4B", 0, 9, 1, 4, 1, 2, 3, 4), id="signed bytes"),
        pytest.param(struct.pack(">HBB", 0, 8, 0), id="no axes"),
        pytest.param(IMAGES[:14], id="part of the header"),
        pytest.param(IMAGES[:-1], id="one byte short"),
        pytest.param(IMAGES + b"\0", id="one byte long"),
        pytest.param(struct.pack(">HBB3i4B", 0, 8, 3, 1, -2, -2, 1, 2, 3, 4), id="negative sizes"),
    ],
)
def test_idx_that_is_damaged_is_refused_by_name_in_one_line(content: bytes) -> None:
    with pytest.raises(DataError, match="train-images") as error:
        decode_idx(content, "train-images")
    assert "\n" not in str(error.value)


def test_libsvm_equals_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    values, classes = generator.uniform(-1, 1, (20, 256)).round(6), generator.integers(1, 11, 20)
    values[0], values[1] = -1, 1
    lines = (
        f"{c} " + " ".join(f"{i}:{v}" for i, v in enumerate(row, 1)) for c, row in zip(classes, values, strict=True)
    )
    text = "\n".join(lines).encode() + b"\n"
    wanted, wanted_labels = load_svmlight_file(io.BytesIO(text), n_features=256, zero_based=False)
    images, labels = decode_libsvm(text)
    assert images.shape == (20, 1, 16, 16)
    assert labels.tolist() == (wanted_labels - 1).tolist()
    np.testing.assert_allclose(images.flatten(1).numpy() / 127.5 - 1, wanted.toarray(), atol=0.5 / 127.5 + 1e-9)


def test_cifar_record_is_label_then_red_green_blue_rows() -> None:
    first, second = np.zeros(3073, np.uint8), np.full(3073, 9, np.uint8)
    first[0], first[1 + 1024 + 2 * 32 + 5], first[1 + 2048 + 31 * 32] = 3, 77, 88
    images, labels = decode_cifar([first.tobytes() + second.tobytes(), second.tobytes()])
    assert labels.tolist() == [3, 9, 9]
    assert labels.dtype == torch.int64
    assert images[0].nonzero().tolist() == [[1, 2, 5], [2, 31, 0]]
    assert (images[0, 1, 2, 5], images[0, 2, 31, 0]) == (77, 88)
    assert (images[1:] == 9).all()
