"""Settings of the group `logger`, and the tags of a run."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from lenet_pl.settings.roles import Role
from lenet_pl.settings.types import Settings


def _check_no_password(uri: str) -> str:
    try:
        secret = urlsplit(uri).password
    except ValueError:
        raise ValueError(f"got {uri!r}; must be a URI, such as http://127.0.0.1:5000 or sqlite:///mlflow.db") from None
    if secret is None:
        return uri
    raise ValueError(
        "got a URI with a password, which results.json would record with the command line; must be without; use the "
        "environment variable MLFLOW_TRACKING_URI, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    )


def _check_tag(tag: str) -> str:
    if tag.isprintable() and tag.strip(" :") == tag:
        return tag
    raise ValueError(f"got {tag!r}; must be a word, or <name>:<value>")


def _check_different(tags: list[str]) -> list[str]:
    if twice := next((tag for tag in tags if tags.count(tag) > 1), None):
        raise ValueError(f"got {twice} twice; must be different tags")
    return tags


Tag = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_check_tag)]  # W&B's limit
Tags = Annotated[list[Tag], AfterValidator(_check_different)]
Name = Annotated[str, Field(min_length=1, max_length=128)]


class MlflowSettings(Settings):
    """MLflow. The tracking URI is that of the command; a run folder does not decide where data are sent."""

    tracking_uri: Annotated[
        Annotated[str, Field(min_length=1), AfterValidator(_check_no_password)] | None, Role.COMMAND
    ]
    """Tracking URI, such as http://127.0.0.1:5000; null: MLFLOW_TRACKING_URI, or sqlite:///mlflow.db."""
    experiment_name: Name
    """MLflow experiment, which is created if it does not exist."""


class WandbSettings(Settings):
    """Weights & Biases. The mode is that of the command; a run folder does not decide where data are sent."""

    project: Name
    """Project."""
    entity: Name | None
    """User or team that owns the project; null: the default of the account."""
    mode: Annotated[Literal["offline", "online"], Role.COMMAND]
    """Whether data are written to the run folder alone, or sent to an account as well."""


class LoggerSettings(Settings):
    """The loggers, any number of them. metrics.csv and the plots are always written."""

    tensorboard: bool
    """Whether event files for TensorBoard are written."""
    csv: bool
    """Whether Lightning's CSV log is written."""
    mlflow: MlflowSettings | None
    """MLflow; null: not used."""
    wandb: WandbSettings | None
    """Weights & Biases; null: not used."""


def connected_by(given: LoggerSettings | None, recorded: LoggerSettings) -> LoggerSettings:
    """Return the loggers of a run with the connections that a command asks for.

    Args:
        given: The loggers of the command. None, and those that are missing, ask for no connection.
        recorded: The loggers of the run.
    """
    mlflow, wandb = recorded.mlflow, recorded.wandb
    if mlflow:
        uri = given.mlflow.tracking_uri if given and given.mlflow else None
        mlflow = mlflow.model_copy(update={"tracking_uri": uri})
    if wandb:
        mode = given.wandb.mode if given and given.wandb else "offline"
        wandb = wandb.model_copy(update={"mode": mode})
    return recorded.model_copy(update={"mlflow": mlflow, "wandb": wandb})
