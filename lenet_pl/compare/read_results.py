"""Reading of results.json."""

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from lenet_pl.compare.run import Evaluation, Run
from lenet_pl.settings.config_file import reason
from lenet_pl.settings.renamed import upgraded_results

Finite = Annotated[float, Field(ge=-1e30, le=1e30)]  # not NaN; sums stay finite
Number = Annotated[int, Field(ge=0, le=2**63)]


class Results(BaseModel):
    """The entries of results.json that a comparison needs."""

    model_config = ConfigDict(strict=True, extra="ignore")

    model: str
    data: str
    data_digest: str | None = None  # None if the files were verified against published digests
    seed: Number
    fold: Number | None = None  # of a cross-validation
    parameters: Number
    epochs: Number
    images: dict[str, Number]
    metrics: dict[str, Finite]
    test_uses: Number = 0
    training_seconds: Finite
    images_per_second: Finite | None


def read_finished(folder: Path) -> Run | None:
    """Read the results of a training; None if the folder contains none."""
    found = read_results(folder, configured=True)
    return found if isinstance(found, Run) else None


def describe_validation_error(error: ValidationError) -> str:
    """Format on one line what is wrong with a results.json."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    found = "is missing" if first["type"] == "missing" else f"is {str(first['input'])[:40]}: {first['msg']}"
    return f"results.json is corrupt: {key} {found}"


def read_results(folder: Path, *, configured: bool) -> Run | Evaluation | None:
    """Read the results.json of a folder: a run, an evaluation, or None if another task or program wrote it."""
    try:
        with open(f"{folder}/results.json", "rb") as stream:  # noqa: PTH123 - as above
            content = _parse(stream.read())
    except (OSError, ValueError, RecursionError) as error:
        return Run(folder, problem=f"results.json unreadable: {reason(error)}")
    content = upgraded_results(content) if isinstance(content, dict) else content
    task = content.get("task") if isinstance(content, dict) else None
    if task == "evaluate":
        return Evaluation(folder, content)
    if task != "train":
        foreign = task is None and configured
        return Run(folder, problem="results.json is not from a training") if foreign else None
    try:
        Results.model_validate(content)
    except ValidationError as error:
        return Run(folder, problem=describe_validation_error(error))
    return Run(folder, content)


def _parse(content: bytes) -> Any:
    """Parse JSON, with the slower `json` only for lone surrogates (file names in other encodings)."""
    try:
        return from_json(content)
    except ValueError:
        if b"\\ud" not in content:
            raise
        return json.loads(content)
