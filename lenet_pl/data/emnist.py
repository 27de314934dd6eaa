"""The registry of EMNIST: files, digests, classes and statistics of its six variants."""

import string

from lenet_pl.data.published import DIGIT_NAMES, DataFile, PublishedDataset

_MERGED = tuple(c for c in string.ascii_lowercase if c not in "cijklmopsuvwxyz")  # the excluded ones resemble capitals
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


def emnist(variant: str) -> PublishedDataset:
    """Describe one of the six EMNIST variants. Images are stored transposed, and labels of `letters` start at 1."""
    classes, sizes, digests = _EMNIST[variant]
    names = [f"{split}-{kind}" for split in ("train", "test") for kind in ("images-idx3", "labels-idx1")]
    files = [DataFile(f"emnist-{variant}-{name}-ubyte.gz", digest) for name, digest in zip(names, digests, strict=True)]
    return PublishedDataset(
        folder="EMNIST",
        url="https://biometrics.nist.gov/cs_links/EMNIST/",
        mirrors=("https://www.itl.nist.gov/iaui/vip/cs_links/EMNIST/",),
        train=(files[0], files[1]),
        test=(files[2], files[3]),
        archive=DataFile("gzip.zip", "fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e"),
        classes=classes,
        sizes=sizes,
    )
