"""Find duplicates and label errors in a dataset: `python -m lenet_pl.inspect data=fashion`."""

from pathlib import Path
from typing import Any

from lenet_pl.runtime.threads import prepare_openmp
from lenet_pl.settings.inspect import InspectSettings


def inspect(settings: InspectSettings, folder: Path) -> dict[str, Any]:
    """Look for duplicates, label errors and outliers in all splits of a dataset, and write a report.

    Args:
        settings: The validated settings.
        folder: The output folder, which receives inspect.html, inspect.json, findings.csv and pictures.

    Returns:
        The content of inspect.json:

        - `data`, `classes`, `images` (number by split), `channels`, `sizes` (number of images by original size)
        - `value_range`: lowest and highest gray level, 0 to 255
        - `per_class`: by class name `images` (by split), and mean and standard deviation of brightness and contrast
        - `findings`: by kind that was searched the number of `images`; of duplicates also those `between_splits`, and
          those with `different_labels`
        - `accuracy`: the fraction of the labels that the networks predicted; None without label errors
        - `settings`, `total_seconds`, and the keys of `describe_environment`

    Raises:
        UserError: The data cannot be read, a setting does not fit them, or a package of the extra `inspect` is missing.
    """
    prepare_openmp()
    import importlib.util
    import time

    from lenet_pl.errors import SettingError

    if settings.label_errors and importlib.util.find_spec("cleanlab") is None:
        raise SettingError(
            "label_errors: needs the package cleanlab; pip install 'lenet_pl[inspect]', or use label_errors=false"
        )
    start = time.perf_counter()
    import torch

    from lenet_pl.data.sources import download_dataset, load_dataset
    from lenet_pl.inspect.findings import count_findings
    from lenet_pl.inspect.images import AllImages
    from lenet_pl.inspect.recipe import training_settings
    from lenet_pl.inspect.report import write_report
    from lenet_pl.inspect.search import find_all, searched_kinds
    from lenet_pl.inspect.sizes import count_sizes
    from lenet_pl.inspect.statistics import compute_statistics, per_class
    from lenet_pl.runtime.environment import describe_environment
    from lenet_pl.runtime.threads import restored_threads

    network = training_settings(settings).model
    download_dataset(settings.data)
    source = load_dataset(settings.data, network.image_size)
    images = AllImages.of(source)
    with restored_threads():
        if settings.num_threads:
            torch.set_num_threads(settings.num_threads)
        statistics = compute_statistics(images)
        findings, accuracy = find_all(images, statistics, source.background, settings)
        results: dict[str, Any] = {
            "data": source.name,
            "classes": list(source.classes),
            "images": {name: len(split) for name, split in images.splits.items()},
            "channels": images.shape[0],
            "sizes": count_sizes(settings.data, images),
            "value_range": [statistics.minimum, statistics.maximum],
            "per_class": per_class(images, statistics),
            "findings": count_findings(findings, images, searched_kinds(settings)),
            "accuracy": accuracy,
            "settings": settings.model_dump(),
            "total_seconds": round(time.perf_counter() - start, 2),
            **describe_environment(torch.device("cpu")),
        }
    write_report(folder, results, images, statistics, findings, settings.max_pictures)
    return results
