"""The registry of published datasets: files, digests, classes and statistics.

Digests with `sha256_of_raw` are of the decompressed content, so that the compression does not matter. The others are of
the published file, because no digest of its content is published. Sources: tensorflow/datasets `url_checksums/`,
pytorch/vision `prototype/datasets/_builtin/`, and notwa/mnists `hashes.py` for EMNIST. The raw digests of MNIST and
Fashion-MNIST were computed from the published files. Sources of the mirrors: tensorflow/datasets `mnist.py` for MNIST,
Keras' `fashion_mnist.load_data` for Fashion-MNIST, tensorflow/swift-models for CIFAR-10, pytorch/vision #3570 for
EMNIST.
"""

import string
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class DataFile:
    """A published file."""

    name: str  # as published
    sha256: str
    sha256_of_raw: bool = False  # whether the digest is of the decompressed content


@dataclass(frozen=True)
class PublishedDataset:
    """A published dataset of images.

    Attributes:
        folder: The folder in the data root, named as by torchvision so that its downloads are found.
        url: The URL of the folder that contains the files or the archive.
        mirrors: Other URLs of such folders, tried in their order if the first fails. The digests make them safe.
        train: The training files: images and labels, or all files of the split.
        test: The test files, likewise.
        classes: The class names, in the order of the labels.
        channels: The number of channels: 1 for gray, 3 for color.
        mean: The mean per channel of training pixels scaled to [0, 1], or None if it is yet to be computed.
        std: The standard deviation per channel of the same pixels, or None.
        archive: The archive that contains all files, or None.
        system_dir: The folder in which a Debian package installs the files, or None.
        system_package: The name of that package.
        sizes: The number of training and of test images.
    """

    folder: str
    url: str
    train: tuple[DataFile, ...]
    test: tuple[DataFile, ...]
    classes: tuple[str, ...]
    channels: int = 1
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    archive: DataFile | None = None
    system_dir: Path | None = None
    system_package: str = ""
    sizes: tuple[int, int] = field(default=(60_000, 10_000))
    mirrors: tuple[str, ...] = ()


DIGIT_NAMES = tuple(string.digits)
FASHION_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
KUZUSHIJI_NAMES = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
CIFAR10_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def _four(
    digests: tuple[str, str, str, str], *, sha256_of_raw: bool
) -> tuple[tuple[DataFile, ...], tuple[DataFile, ...]]:
    names = [f"{split}-{kind}-ubyte.gz" for split in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
    files = [DataFile(name, digest, sha256_of_raw) for name, digest in zip(names, digests, strict=True)]
    return (files[0], files[1]), (files[2], files[3])


_mnist_train, _mnist_test = _four(
    (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    sha256_of_raw=True,
)
_fashion_train, _fashion_test = _four(
    (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
    sha256_of_raw=True,
)
_kmnist_train, _kmnist_test = _four(
    (
        "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
        "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
        "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
        "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
    ),
    sha256_of_raw=False,
)

PUBLISHED = {
    "mnist": PublishedDataset(
        folder="MNIST",
        url="https://ossci-datasets.s3.amazonaws.com/mnist/",
        mirrors=("https://storage.googleapis.com/cvdf-datasets/mnist/",),
        train=_mnist_train,
        test=_mnist_test,
        classes=DIGIT_NAMES,
        mean=(0.1307,),
        std=(0.3081,),
    ),
    "fashion": PublishedDataset(
        folder="FashionMNIST",
        url="https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        mirrors=("https://storage.googleapis.com/tensorflow/tf-keras-datasets/",),
        train=_fashion_train,
        test=_fashion_test,
        classes=FASHION_NAMES,
        mean=(0.2860,),
        std=(0.3530,),
        system_dir=Path("/usr/share/datasets/fashion-mnist"),
        system_package="dataset-fashion-mnist",
    ),
    "kmnist": PublishedDataset(
        folder="KMNIST",
        url="https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        train=_kmnist_train,
        test=_kmnist_test,
        classes=KUZUSHIJI_NAMES,
    ),
    "qmnist": PublishedDataset(  # its first 10,000 test images are MNIST's; the other 50,000 were lost until 2019
        folder="QMNIST",
        url="https://raw.githubusercontent.com/facebookresearch/qmnist/master/",
        train=(
            DataFile(
                "qmnist-train-images-idx3-ubyte.gz", "9e26a7bf1683614e065d7b76460ccd52807165b3f22561fb782bd9f38c52b51d"
            ),
            DataFile(
                "qmnist-train-labels-idx2-int.gz", "2c05dc77f6b916b38e455e97ab129a42a444f3dbef09b278a366f82904e0dd9f"
            ),
        ),
        test=(
            DataFile(
                "qmnist-test-images-idx3-ubyte.gz", "43fc22bf7498b8fc98de98369d72f752d0deabc280a43a7bcc364ab19e57b375"
            ),
            DataFile(
                "qmnist-test-labels-idx2-int.gz", "9fbcbe594c3766fdf4f0b15c5165dc0d1e57ac604e01422608bb72c906030d06"
            ),
        ),
        classes=DIGIT_NAMES,
        sizes=(60_000, 60_000),
    ),
    "usps": PublishedDataset(
        folder="USPS",
        url="https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/",
        train=(DataFile("usps.bz2", "3771e9dd6ba685185f89867b6e249233dd74652389f263963b3b741e994b034f"),),
        test=(DataFile("usps.t.bz2", "a9c0164e797d60142a50604917f0baa604f326e9a689698763793fa5d12ffc4e"),),
        classes=DIGIT_NAMES,
        sizes=(7_291, 2_007),
    ),
    "cifar10": PublishedDataset(  # the binary version, because the Python version uses pickle, which can execute code
        folder="CIFAR10",
        url="https://www.cs.toronto.edu/~kriz/",
        mirrors=("https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/",),
        train=tuple(DataFile(f"cifar-10-batches-bin/data_batch_{i}.bin", "") for i in range(1, 6)),
        test=(DataFile("cifar-10-batches-bin/test_batch.bin", ""),),
        archive=DataFile("cifar-10-binary.tar.gz", "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),
        classes=CIFAR10_NAMES,
        channels=3,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        sizes=(50_000, 10_000),
    ),
}
