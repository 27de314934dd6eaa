"""Settings of knowledge distillation."""

from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo

from lenet_pl.settings.types import LocalPath, Settings


class DistillationSettings(Settings):
    """The loss of a student: weight · T² · KL(teacher || student) + (1 - weight) · loss, with temperature T."""

    temperature: Annotated[float, Field(gt=0, le=1000)]
    """Temperature by which the logits of teacher and student are divided before the softmax."""
    weight: Annotated[float, Field(gt=0, le=1)]
    """Weight of the divergence from the teacher; the rest is that of the loss on the labels."""


def _check_teachers(given: str | list[str] | None) -> str | list[str] | None:
    if isinstance(given, list) and (twice := [one for one in given if given.count(one) > 1]):
        raise ValueError(f"got {twice[0]} twice; must be a list of different runs")
    return given


def _check_digests(digests: list[str] | None, info: ValidationInfo) -> list[str] | None:
    if digests is None or "teacher" not in info.data:
        return digests
    teacher = info.data["teacher"]
    count = len(teacher) if isinstance(teacher, list) else int(teacher is not None)
    if not count:
        raise ValueError("got digests without teacher; must be null, or teacher=<run folder or checkpoint>")
    if len(digests) != count:
        raise ValueError(f"got {len(digests)} digests for {count} teachers; must be null, or one digest per teacher")
    return digests


Teacher = Annotated[LocalPath | Annotated[list[LocalPath], Field(min_length=1)] | None, AfterValidator(_check_teachers)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
TeacherDigests = Annotated[list[Digest] | None, AfterValidator(_check_digests)]
