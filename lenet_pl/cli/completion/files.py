"""Files and folders that complete a path, filtered by what a setting takes."""

import os
from collections.abc import Iterator

MOST = 500  # entries of a folder that are offered
IMAGES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".heic", ".heif")
SUFFIXES = {"ckpt_path": (".ckpt",), "images": IMAGES}  # settings that take files; others take folders
RUNS = ("run", "runs")


def matching_files(path: str, key: str) -> Iterator[tuple[str, bool]]:
    """Yield paths that start with a text, each with whether it is complete.

    Args:
        path: The text, whose last part is matched. A leading ~ is kept.
        key: The setting. `run` takes run folders, `ckpt_path` and `images` take files.
    """
    folder, slash, name = path.rpartition("/")
    try:
        with os.scandir(os.path.expanduser(f"{folder}{slash}") or ".") as entries:  # noqa: PTH111 - fast
            found = sorted((entry for entry in entries if entry.name.startswith(name)), key=lambda entry: entry.name)
    except OSError:
        return
    shown = [entry for entry in found if name.startswith(".") or not entry.name.startswith(".")]
    for entry in shown[:MOST]:
        text = f"{folder}{slash}{entry.name}"
        if entry.is_dir():
            is_run = key in RUNS and os.path.isfile(f"{entry.path}/config.yaml")  # noqa: PTH113
            yield (text, True) if is_run else (f"{text}/", False)
        elif entry.name.lower().endswith(SUFFIXES.get(key, ("/",))):
            yield text, True
