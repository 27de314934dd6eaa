"""Facts about published data sets: files, digests, classes, statistics.

Digests marked `raw` are of the decompressed content, so that any compression of the same content passes; the others
are of the file as published, because no digest of the content is published. Sources: tensorflow/datasets
`url_checksums/`, pytorch/vision `prototype/datasets/_builtin/`, notwa/mnists `hashes.py` (EMNIST members); the raw
digests of MNIST and Fashion-MNIST were taken from the published files.
"""

import string
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class DataFile:
    """A published file."""

    name: str  # as published
    sha256: str
    raw: bool = False  # the digest is of the decompressed content


@dataclass(frozen=True)
class Published:
    """A published set of images. `train` and `test` are (images, labels), or all files of the part."""

    folder: str  # under the data root; torchvision's name, so that its downloads are found
    url: str  # of the folder that holds the files, or of the archive
    train: tuple[DataFile, ...]
    test: tuple[DataFile, ...]
    classes: tuple[str, ...]
    channels: int = 1
    mean: tuple[float, ...] | None = None  # of the training pixels scaled to [0, 1]; None: computed
    std: tuple[float, ...] | None = None
    archive: DataFile | None = None  # holds all files
    system: Path | None = None  # where a distribution's package puts the files
    system_package: str = ""
    sizes: tuple[int, int] = field(default=(60_000, 10_000))  # images in train and test


DIGIT_NAMES = tuple(string.digits)
FASHION_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
KUZUSHIJI_NAMES = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
CIFAR10_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def _four(digests: tuple[str, str, str, str], *, raw: bool) -> tuple[tuple[DataFile, ...], tuple[DataFile, ...]]:
    names = [f"{part}-{kind}-ubyte.gz" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
    files = [DataFile(name, digest, raw) for name, digest in zip(names, digests, strict=True)]
    return (files[0], files[1]), (files[2], files[3])


_mnist_train, _mnist_test = _four(
    (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    raw=True,
)
_fashion_train, _fashion_test = _four(
    (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
    raw=True,
)
_kmnist_train, _kmnist_test = _four(
    (
        "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
        "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
        "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
        "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
    ),
    raw=False,
)

PUBLISHED = {
    "mnist": Published(
        folder="MNIST",
        url="https://ossci-datasets.s3.amazonaws.com/mnist/",
        train=_mnist_train,
        test=_mnist_test,
        classes=DIGIT_NAMES,
        mean=(0.1307,),
        std=(0.3081,),
    ),
    "fashion": Published(
        folder="FashionMNIST",
        url="https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        train=_fashion_train,
        test=_fashion_test,
        classes=FASHION_NAMES,
        mean=(0.2860,),
        std=(0.3530,),
        system=Path("/usr/share/datasets/fashion-mnist"),
        system_package="dataset-fashion-mnist",
    ),
    "kmnist": Published(
        folder="KMNIST",
        url="https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        train=_kmnist_train,
        test=_kmnist_test,
        classes=KUZUSHIJI_NAMES,
    ),
    "qmnist": Published(  # rows 0 to 9,999 of its test part are MNIST's, the other 50,000 were lost until 2019
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
    "usps": Published(
        folder="USPS",
        url="https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/",
        train=(DataFile("usps.bz2", "3771e9dd6ba685185f89867b6e249233dd74652389f263963b3b741e994b034f"),),
        test=(DataFile("usps.t.bz2", "a9c0164e797d60142a50604917f0baa604f326e9a689698763793fa5d12ffc4e"),),
        classes=DIGIT_NAMES,
        sizes=(7_291, 2_007),
    ),
    "cifar10": Published(  # the binary version: the Python version is pickle, which runs code when it is read
        folder="CIFAR10",
        url="https://www.cs.toronto.edu/~kriz/",
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

_MERGED = tuple(c for c in string.ascii_lowercase if c not in "cijklmopsuvwxyz")  # the others look like capitals
_EMNIST = {  # classes, (train, test) images, digests of the four members
    "balanced": (
        (*DIGIT_NAMES, *string.ascii_uppercase, *_MERGED),
        (112_800, 18_800),
        (
            "74295e75e4e9fa2c102147460ee7eb763653d5132d883a84fb88932bfb8d2db4",
            "b46d41e5156a0a8aaaa4d18979fdd1588850fa8571018acffd5d93b325a7d6ed",
            "117fc12b015e37ea98bfb2cbba3f77c3782c056cdbd219b87abfc8661d7135db",
            "a67cac948379b67270b9a4d0a01c8ec661598accf2f2b1964340b7c83cb175cd",
        ),
    ),
    "byclass": (
        (*DIGIT_NAMES, *string.ascii_uppercase, *string.ascii_lowercase),
        (697_932, 116_323),
        (
            "9e21987f03a6eb8b870187e785883ddad96947299587908f1a7ec2ca0f4be5f0",
            "f7ef403d48dc18a89dae0d83d11ee69cecb6e1c12c3a961d03712e495c02a8fa",
            "5ec835bd5d5b1a66378a132e727fef20fe994b3cc666899befcca5ac766f50cd",
            "501e305eeeacb093b162592d80e8a2632040872360fa6d85cfcb2200d91ca92a",
        ),
    ),
    "bymerge": (
        (*DIGIT_NAMES, *string.ascii_uppercase, *_MERGED),
        (697_932, 116_323),
        (
            "39bf8c68037dad40db35348895f7e4e056e8c0a005ab78869c9fbc2c96e947be",
            "2c47293b9e62d6abf6ad05fbf67e40baa32adfd380b8d7b44dcc35534b64e1f1",
            "5e5815ec1b522089134435f7c55e75a00960b58414793593ffff23efc0821683",
            "8bda1516255683ba9071e141947ca0c91a911176065cdd6259b0b4d8dc5b5f35",
        ),
    ),
    "letters": (
        tuple(string.ascii_lowercase),
        (124_800, 20_800),
        (
            "6288f418a917e007bf5fddb823a2dc7a5c6a35031401b93292a539cb12bd881f",
            "9759af91ea6bccdf07a6040fd085861f2ec88e37f7c3f5760f6feb57106fbe5c",
            "50f0e93d75b99b463e9760b8345866f22587fa2c2fba472730a5ba09c693412d",
            "924955c31fe7fd809b7303b5c0141282955f4b8390c74cdfd5d80435e0f4b4cb",
        ),
    ),
    "digits": (
        DIGIT_NAMES,
        (240_000, 40_000),
        (
            "f7c95004d14d81af89522e67d8f0c781dfb3bd544181c81bfe1eb6b41c35b726",
            "6638a6ff5fe2eefd9cca2471995b46c82986b8e4b2a70d2f5ce8e05d7edb319e",
            "20ebe43509264f7639d37c835a3f0b009e90b29e00a099a03101abe1644a3f63",
            "bad1834c45d5988e270b99d43b13edc3fd898f658ffbc2caf2846ef27f7b05b0",
        ),
    ),
    "mnist": (
        DIGIT_NAMES,
        (60_000, 10_000),
        (
            "5f9942f441031c0f1f2e4d162059fd6e19ea808b34c328b6d16cab0ed24c78f2",
            "00c6d3c2342fdffb1711e0b5656cac4ce5862d2826399d383a9bac07d612e9f8",
            "b25640fa9e356c618132f5df347c95ef5bae6d9c2596be1de40f7e0ae1c3eac6",
            "bcc5385d38f083dba046f5f756e99b32f5ea7fad122c6243c71c2239873065ca",
        ),
    ),
}


def emnist(variant: str) -> Published:
    """Describe one of EMNIST's six splits. Its images are stored transposed, and `letters` counts from 1."""
    classes, sizes, digests = _EMNIST[variant]
    names = [f"{part}-{kind}" for part in ("train", "test") for kind in ("images-idx3", "labels-idx1")]
    files = [DataFile(f"emnist-{variant}-{name}-ubyte.gz", digest) for name, digest in zip(names, digests, strict=True)]
    return Published(
        folder="EMNIST",
        url="https://biometrics.nist.gov/cs_links/EMNIST/",
        train=(files[0], files[1]),
        test=(files[2], files[3]),
        archive=DataFile("gzip.zip", "fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e"),
        classes=classes,
        sizes=sizes,
    )
