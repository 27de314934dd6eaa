"""Reading of user photos."""

from pathlib import Path

from PIL import Image

from lenet_pl.image_io.decode import eight_bit, read_image
from lenet_pl.photo.transparency import opaque


def read_photo(source: Path | bytes, name: str) -> Image.Image:
    """Decode an image as upright, with 8 bits per channel and without transparency.

    Args:
        source: The path or the content of an image file.
        name: The name of the image, for messages.

    Returns:
        An image of mode L or RGB. Its `info` contains only "name" and, if there are any, "notes" for the user.

    Raises:
        DataError: If the image cannot be read; see `read_image`.
    """
    image = eight_bit(read_image(source, name))
    photo = opaque(image)
    photo.info = {key: image.info[key] for key in ("name", "notes") if key in image.info}
    return photo
