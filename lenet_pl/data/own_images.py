"""The images that a run had, looked for in its data as they are now: all as they were, refused, or found again."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from lenet_pl.checkpoint import load_checkpoint
from lenet_pl.data.changes import count_missing, describe, describe_classes, list_recorded, list_source
from lenet_pl.data.identity import (
    FILE,
    PARTS,
    Identity,
    PartName,
    PartRecord,
    contents_of,
    digest_pixels,
    digest_source,
    read_identity,
    record_classes,
)
from lenet_pl.data.image_set import ImageSet, Origin
from lenet_pl.data.sources import Source
from lenet_pl.errors import DataError, printable
from lenet_pl.settings import DataSettings, FolderDataSettings, TrainSettings

WORDS: dict[PartName, str] = {"train": "training", "validation": "validation", "test": "test"}
UNRECORDED = (
    "note: the run does not say which images it had, as an earlier version began it; whether its data have changed "
    "cannot be told"
)


@dataclass(frozen=True)
class OwnImages:
    """Which images a run had.

    Attributes:
        identity: what the run recorded; None: nothing, as it was begun by an earlier version.
        folder: of the run, where data.json may say more than the checkpoint.
        wanted: parts that are used; the others need not be there.
        accept: take the run's own images out of changed data, where all that are wanted are there.
        instead: what else can be done about changed data.
        channels: that the network takes; None: not known.
    """

    identity: Identity | None
    folder: Path
    wanted: tuple[PartName, ...] = PARTS
    accept: bool = False
    instead: str = ""
    channels: int | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that the run had."""
        assert self.identity
        return self.identity.class_names

    def recorded(self) -> Identity:
        """Add to the record what data.json says, if it is of this run and sound."""
        assert self.identity
        found = read_identity(self.folder)
        return found if found and found.agrees(self.identity) else self.identity

    def read_as_before(self, settings: DataSettings) -> DataSettings:
        """Fix what would be decided by looking at all images, of which some may not be the run's."""
        if not isinstance(settings, FolderDataSettings) or settings.colour != "auto":
            return settings
        channels = self.identity.channels if self.identity else self.channels
        if channels == 3:  # earlier versions took grey pictures that are saved as color for color
            return settings.model_copy(update={"colour": "rgb"})
        return settings.model_copy(update={"colour": "grey"}) if self.accept and channels == 1 else settings

    def find(self, source: Source) -> dict[PartName, ImageSet] | None:
        """Compare a set with what the run had.

        Args:
            source: the set as it is now.

        Returns:
            None if it is unchanged; else the parts of the run, the same images in the same order, with the labels that
            they had. Parts that are not wanted are empty if they are not complete.

        Raises:
            DataError: the set has changed, and that was not accepted, or images that are wanted are not there.
        """
        if source.train.origin is None or self.identity is None:
            return None
        if self.identity.digest == digest_source(source.classes, *source.parts):
            return None
        full = self.recorded()
        there = _all_contents(source)
        lacking = {name: count_missing(full.parts[name], there) for name in self.wanted}
        changes = f"data: {printable(self._changes(full, source))} since the run was trained"
        if not self.accept or any(count != 0 for count in lacking.values()):
            raise DataError(f"{changes}; {self._advice(lacking)}")
        chosen = {name: _choose(source, full.parts[name]) for name in PARTS}
        if any(full.parts[name].pixels not in (None, digest_pixels(chosen[name])) for name in self.wanted):
            raise DataError(
                f"{changes}; accepted is the set as it was, since beside the added images the run's own would be "
                f"read otherwise (range of levels, or size){self.instead}"
            )
        print(f"note: {changes}; the run's own {self._named(self.wanted)} images are all there and used")
        return chosen

    def refuse_others(self, found: Identity) -> None:
        """Raise DataError if a set was divided otherwise than when the run was trained, or is another."""
        if self.identity and not self.identity.agrees(found):
            what = "the images are others than"
            if self.identity.digest == found.digest:
                what = "the images are the same, but divided otherwise than"
            raise DataError(f"data: {what} when {self.folder} was begun; accepted are those, in the same parts")

    def _changes(self, full: Identity, source: Source) -> str:
        before = list_recorded(full)
        if before is not None:
            return describe(before, list_source(source.classes, *source.parts))
        contents = torch.tensor(_all_contents(source), dtype=torch.int64)
        labels = torch.cat([part.labels for part in source.parts])
        return describe_classes(full.classes, record_classes(source.classes, contents, labels))

    def _advice(self, lacking: dict[PartName, int | None]) -> str:
        """Say what is accepted.

        Args:
            lacking: for each part that is wanted how many of its images are not there; None where that is unknown.
        """
        assert self.identity
        words = "accepted is the set as it was"
        if not self.wanted:
            return f"{words}{self.instead}"
        if unknown := [name for name, count in lacking.items() if count is None]:
            named = self._named(unknown)
            return f"{words}; which were the run's {named} images, its {FILE} would say{self.instead}"
        if some := [
            f"{count:,} of {self.identity.parts[name].images:,} {WORDS[name]} images"
            for name, count in lacking.items()
            if count
        ]:
            return f"{words}: of the run's own, {' and '.join(some)} are not there{self.instead}"
        named = self._named(self.wanted)
        return (
            f"{words}, or data.accept_changes=true to go on with the run's own {named} images, which are all there"
            f"{self.instead}"
        )

    @staticmethod
    def _named(parts: Sequence[PartName]) -> str:
        return ", ".join(WORDS[part] for part in parts)


def recorded_identity(checkpoint: dict[str, Any]) -> Identity | None:
    """Take the record of the data out of a checkpoint's content; None if it has none.

    Raises:
        ValidationError: it is not what this version writes.
    """
    given = checkpoint.get("hyper_parameters")
    record = given.get("data") if isinstance(given, dict) else None
    return None if record is None else Identity.model_validate(record)


def images_of_run(settings: TrainSettings, *folders: Path) -> OwnImages | None:
    """Say which images a run had that is to be continued; None if it begins, as no checkpoint is there.

    Args:
        settings: of the run.
        folders: of the run; of several on the same images, the first that says which these are is taken.

    Raises:
        DataError: a checkpoint is damaged, a stranger's or of another version.
    """
    wanted: tuple[PartName, ...] = PARTS if settings.test else ("train", "validation")
    accept = bool(getattr(settings.data, "accept_changes", False))  # what is no file of the user's has no such setting
    begun: list[OwnImages] = []
    for folder in folders:
        last = folder / "checkpoints" / "last.ckpt"
        if not settings.resume or not last.exists():
            continue
        try:
            content = load_checkpoint(last)
            channels = content.get("hyper_parameters", {}).get("channels")
            begun.append(OwnImages(recorded_identity(content), folder, wanted, accept, channels=channels))
        except ValidationError:
            raise DataError(f"{last}: not written by this version of lenet_pl (what it says of its data)") from None
    return next((own for own in begun if own.identity), begun[0] if begun else None)


def _choose(source: Source, part: PartRecord) -> ImageSet:
    """Find the images of a part in a source, whichever part they are in now; none of them if one is not there."""
    rows = part.rows()
    if rows is None or count_missing(part, _all_contents(source)):
        return source.test.subset(torch.zeros(0, dtype=torch.int64))
    contents, labels = rows
    pools = list(source.parts)
    if all(pool.array is pools[0].array for pool in pools):
        pools = [_together(pools)]
    for pool in pools:
        places = torch.tensor(_places(pool, contents), dtype=torch.int64)
        if bool((places >= 0).all()):
            return replace(pool.subset(places), labels=labels)
    # Some lie in the one array and some in the other, and are copied into one
    array = torch.empty(len(labels), *source.train.array.shape[1:], dtype=torch.uint8)
    for pool in pools:
        places = torch.tensor(_places(pool, contents), dtype=torch.int64)
        array[places >= 0] = pool[places[places >= 0]].array
    return ImageSet(array, labels, origin=Origin(contents))


def _together(parts: Sequence[ImageSet]) -> ImageSet:
    """Join sets of images of one array."""
    rows = [torch.arange(len(each)) if each.rows is None else each.rows for each in parts]
    return replace(parts[0], labels=torch.cat([each.labels for each in parts]), rows=torch.cat(rows))


def _places(pool: ImageSet, contents: Tensor) -> list[int]:
    """Say where in a pool each content is; -1 where it is not."""
    place_of = {content: place for place, content in enumerate(contents_of(pool).tolist())}
    return [place_of.get(content, -1) for content in contents.tolist()]


def _all_contents(source: Source) -> list[int]:
    found: list[int] = torch.cat([contents_of(part) for part in source.parts]).tolist()
    return found
