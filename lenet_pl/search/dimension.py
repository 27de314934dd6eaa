"""One dimension of the search space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class Dimension:
    """A setting with its range or choices.

    Attributes:
        key: The dotted key of the setting.
        low: The smallest value.
        high: The largest value.
        step: The distance between two values; None for any value in between, or 1 for integers.
        log: Whether to sample uniformly in the logarithm.
        whole: Whether only integers are sampled.
        choices: Pairs of the value stored in the study and the value of the setting; empty for a range.
        sections: Pairs of a choice and its settings, if the key is a config group.
        old_name: The name in a study of an earlier version; empty: the key.
    """

    key: str
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    log: bool = False
    whole: bool = False
    choices: tuple[tuple[Any, Any], ...] = ()
    sections: tuple[tuple[Any, dict[str, Any]], ...] = ()
    old_name: str = ""

    @property
    def name(self) -> str:
        """Name in the study."""
        return self.old_name or self.key

    def suggest(self, trial: optuna.Trial) -> Any:
        """Sample a value for a trial, and return it as stored in the study."""
        if self.choices:
            return trial.suggest_categorical(self.name, [name for name, _ in self.choices])
        if self.whole:
            return trial.suggest_int(self.name, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)

    def ends(self) -> list[Any]:
        """List the values to check: all choices, or both ends of the range."""
        if self.choices:
            return [name for name, _ in self.choices]
        return [int(self.low), int(self.high)] if self.whole else [self.low, self.high]
