"""Corruptions of the gray levels."""

from torch import Generator, Tensor, where


def brightness(pixels: Tensor, severity: int, _: Generator) -> Tensor:
    """Raise the value of HSV by a tenth per severity. Hue and saturation stay."""
    value = pixels.amax(1, keepdim=True)
    brighter = (value + severity / 10).clamp_(max=1)
    return where(value > 0, pixels * (brighter / value.clamp(min=1e-6)), brighter)


def stripe(pixels: Tensor, severity: int, _: Generator) -> Tensor:
    """Invert a stripe at the left and one at the right: 3 to 7 px wide; the published images have 7."""
    width = pixels.shape[3]
    side = round((severity + 2) * width / 28)
    striped = pixels.clone()
    for part in (striped[..., :side], striped[..., width - side :]):
        part.mul_(-1).add_(1)
    return striped
