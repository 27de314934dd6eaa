"""Images that let a ground through, put on one."""

import numpy as np
from PIL import Image

from lenet_pl.photo import ink


def opaque(image: Image.Image) -> Image.Image:
    """Put an image on a ground, if it lets one through; returns mode L or RGB.

    Where most of the outermost pixels are opaque, the image has a ground of its own, which goes on. Else the shape is
    in the transparency, and shows on white if it is dark, on black if it is light.
    """
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    if not image.has_transparency_data:
        return image.convert(mode)
    layered = image.convert("RGBA")
    alpha = ink.levels(layered.getchannel("A"))
    grey = ink.levels(layered.convert("RGB").convert("L"))
    if ink.background_level(alpha) > 0.5:
        rim = np.ones(grey.shape, bool)
        rim[1:-1, 1:-1] = False
        level = float(np.median(grey[rim & (alpha > 0.5)]))
    else:
        level = float((grey * alpha).sum() <= 0.5 * alpha.sum())
    ground = Image.new("RGBA", image.size, (*[round(255 * level)] * 3, 255))
    return Image.alpha_composite(ground, layered).convert(mode)
