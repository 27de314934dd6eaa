"""The sizes of the original images."""

from collections import Counter
from pathlib import Path

from lenet_pl.data.folder import MAX_FILE_BYTES
from lenet_pl.errors import DataError
from lenet_pl.image_io.decode import open_image
from lenet_pl.inspect.images import AllImages
from lenet_pl.settings import DataSettings, FolderDataSettings


def count_sizes(settings: DataSettings, images: AllImages) -> dict[str, int]:
    """Count the images of each size, as "28×28", the most frequent first.

    Images of a folder are counted by the size of their files, which were resized on reading. Those that are too large
    to be read twice are counted as "unknown".
    """
    if not isinstance(settings, FolderDataSettings):
        height, width = images.shape[1:]
        return {f"{width}×{height}": len(images)}
    sizes = Counter(_size(settings, str(name)) for name in images.names)
    return dict(sizes.most_common())


def _size(settings: FolderDataSettings, name: str) -> str:
    places = [Path(settings.path), *([Path(settings.test_path).parent] if settings.test_path else [])]
    file = next((place / name for place in places if (place / name).is_file()), places[0] / name)
    try:
        with open_image(file, name, MAX_FILE_BYTES) as header:
            return "{}×{}".format(*header.size)
    except DataError:
        return "unknown"
