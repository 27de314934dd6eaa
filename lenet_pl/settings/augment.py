"""Settings of the group `augment`."""

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from lenet_pl.settings.types import Degrees, Probability, Settings

Share = Annotated[float, Field(ge=0, le=1)]
BlurSigma = Annotated[float, Field(ge=0, le=50)]
BetaParameter = Annotated[float, Field(ge=0, le=100)]


class AugmentSettings(Settings):
    """Strengths of the random transforms; 0 disables one. Parameters are independent for each image.

    The order is that of the settings. With both mixup and cutmix, each image gets one of the two at random.
    """

    degrees: Degrees
    """Largest rotation in either direction, in degrees."""
    translate: Share
    """Largest shift in either direction, as a fraction of the image size."""
    scale: Probability
    """Largest relative change of scale, larger or smaller."""
    aspect_ratio: Probability
    """Largest relative change of width, against that of height."""
    shear: Annotated[float, Field(ge=0, lt=80)]
    """Largest horizontal shear in either direction, in degrees."""
    crop_padding: Annotated[int, Field(ge=0, le=256)]
    """Padding on each side before a random crop to the old size, in px."""
    hflip: Share
    """Probability of a horizontal flip."""
    elastic_sigma: Annotated[float, Field(gt=0, le=50)]
    """Standard deviation of the Gaussian that smooths the displacements of the elastic distortion, in px."""
    elastic_alpha: Annotated[float, Field(ge=0, le=10_000)]
    """Factor of the smoothed displacements of the elastic distortion, in px."""
    brightness: Probability
    """Largest relative change of brightness."""
    contrast: Probability
    """Largest relative change of contrast."""
    saturation: Probability
    """Largest relative change of saturation; color images only."""
    hue: Annotated[float, Field(ge=0, le=0.5)]
    """Largest shift of the hue in either direction, as a fraction of the color circle; color images only."""
    rand_augment_magnitude: Annotated[int, Field(ge=0, le=30)]
    """Magnitude of the operations of RandAugment."""
    rand_augment: Annotated[int, Field(ge=0, le=14)]
    """Number of operations of RandAugment per image."""
    trivial_augment: bool
    """Whether one operation of TrivialAugment (wide) changes each image."""
    gaussian_blur: BlurSigma | Annotated[list[BlurSigma], Field(min_length=2, max_length=2)]
    """Largest standard deviation of a Gaussian blur in px, or its smallest and largest one."""
    noise: Share
    """Standard deviation of Gaussian noise, where white is 1."""
    random_erasing: Share
    """Probability that a rectangle is painted over in one random color."""
    cutout: Annotated[int, Field(ge=0, le=512)]
    """Side of a square that is replaced by the mean of the training images, in px; it may hang over the edge."""
    mixup: BetaParameter
    """Parameter alpha of the Beta distribution of the weights with which pairs of images are averaged."""
    cutmix: BetaParameter
    """Parameter alpha of the Beta distribution of the area that is pasted from another image."""

    @field_validator("gaussian_blur")
    @classmethod
    def _check_range(cls, sigma: float | list[float]) -> float | list[float]:
        if isinstance(sigma, list) and sigma[0] > sigma[1]:
            raise ValueError(f"got {sigma}; must be one number, or two numbers of which the second is not smaller")
        return sigma

    @field_validator("trivial_augment")
    @classmethod
    def _check_one_policy(cls, trivial: bool, info: ValidationInfo) -> bool:
        if trivial and info.data.get("rand_augment"):
            raise ValueError("got true with rand_augment > 0; only one of the two policies can be chosen")
        return trivial
