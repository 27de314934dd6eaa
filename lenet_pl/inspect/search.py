"""The search for all kinds of findings."""

from lenet_pl.inspect.duplicates import digest_all, exact_duplicates, near_duplicates
from lenet_pl.inspect.findings import KINDS, Finding
from lenet_pl.inspect.images import AllImages
from lenet_pl.inspect.neighbors import distinct_neighbors, thumbnails
from lenet_pl.inspect.outliers import nearly_empty, outliers, unusual
from lenet_pl.inspect.statistics import Statistics
from lenet_pl.settings.inspect import InspectSettings


def searched_kinds(settings: InspectSettings) -> list[str]:
    """List the kinds of findings that the settings ask for."""
    skipped = set() if settings.label_errors else {"label_error", "unlikely_label"}
    skipped |= {"near_duplicate", "outlier"} if settings.near_duplicates is None else set()
    return [kind for kind in KINDS if kind not in skipped]


def find_all(
    images: AllImages, statistics: Statistics, background: int, settings: InspectSettings
) -> tuple[list[Finding], float | None]:
    """Search for duplicates, label errors and outliers, as far as the settings ask for them.

    Returns:
        The findings, by kind and then by rank, and the fraction of the labels that the networks predicted; None if no
        network was trained.
    """
    digests = digest_all(images)
    findings = exact_duplicates(digests)
    neighbors = None
    if settings.near_duplicates is not None and len(images) > 1:
        neighbors = distinct_neighbors(thumbnails(images), digests)
        findings += near_duplicates(images, digests, statistics.content, neighbors, settings.near_duplicates)
    accuracy = None
    if settings.label_errors:
        from lenet_pl.inspect.label_errors import predict_out_of_fold, rank_label_errors

        probabilities = predict_out_of_fold(images, background, settings)
        accuracy = float((probabilities.argmax(1) == images.labels).double().mean())
        findings += rank_label_errors(images.labels, probabilities)
    findings += nearly_empty(statistics)
    findings += unusual("brightness", images, statistics.brightness)
    findings += unusual("contrast", images, statistics.contrast)
    findings += outliers(images, neighbors) if neighbors else []
    return findings, accuracy
