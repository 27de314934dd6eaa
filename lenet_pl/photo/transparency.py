"""Compositing of transparent images onto a background."""

import numpy as np
from PIL import Image

from lenet_pl.photo import segmentation


def opaque(image: Image.Image) -> Image.Image:
    """Composite a transparent image onto a background; opaque images are only converted.

    If most border pixels are opaque, the image has a background, whose median level is extended. Otherwise the
    transparency contains the shape: a dark one is put on white, a light one on black.

    Returns:
        An image of mode L or RGB.
    """
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    if not image.has_transparency_data:
        return image.convert(mode)
    layered = image.convert("RGBA")
    alpha = segmentation.levels(layered.getchannel("A"))
    gray = segmentation.levels(layered.convert("RGB").convert("L"))
    if segmentation.background_level(alpha) > 0.5:
        rim = np.ones(gray.shape, bool)
        rim[1:-1, 1:-1] = False
        level = float(np.median(gray[rim & (alpha > 0.5)]))
    else:
        level = float((gray * alpha).sum() <= 0.5 * alpha.sum())
    ground = Image.new("RGBA", image.size, (*[round(255 * level)] * 3, 255))
    return Image.alpha_composite(ground, layered).convert(mode)
