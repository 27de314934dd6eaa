"""What the server keeps of a training, and the part of it that a page does not have yet."""

import threading
from dataclasses import dataclass, field
from typing import Any

MAX_POINTS = 1000  # of the curve of step losses; more are averaged


class LossCurve:
    """The training loss by step, as means of equally many steps.

    Attributes:
        values: The means.
        stride: The number of steps of each.
        version: The number of times that the stride was doubled; values that a page has are then outdated.
    """

    def __init__(self) -> None:
        self.values: list[float] = []
        self.stride, self.version = 1, 0
        self._rest: list[float] = []

    def add(self, first: int, losses: list[float]) -> None:
        """Append the losses of the steps from `first` on.

        Those of an unfinished epoch before a resume are not known; they get the loss of the next step.
        """
        missing = first - len(self.values) * self.stride - len(self._rest)
        self._rest += losses[:1] * missing + losses
        while len(self._rest) >= self.stride:
            self.values.append(sum(self._rest[: self.stride]) / self.stride)
            del self._rest[: self.stride]
            if len(self.values) > MAX_POINTS:
                if len(self.values) % 2:  # of an incomplete pair
                    self._rest = [self.values.pop()] * self.stride + self._rest
                pairs = zip(self.values[::2], self.values[1::2], strict=True)
                self.values = [(one + other) / 2 for one, other in pairs]
                self.stride, self.version = 2 * self.stride, self.version + 1


@dataclass
class History:
    """All that a page shows of a training.

    Attributes:
        state: Values that replace earlier ones: status, error, command, step, learning rate, data, confusion matrix.
        view: The last view, with its number as `number`.
        first_filters: The filters before the first step.
        rows: The rows of metrics.csv.
        losses: The loss by step.
        changes: The number of changes of `state`.
    """

    state: dict[str, Any]
    view: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    losses: LossCurve = field(default_factory=LossCurve)
    changes: int = 1
    _lock: Any = field(default_factory=threading.RLock)  # messages come in another thread than pages ask in

    def update(self, **values: Any) -> None:
        """Replace values of the state."""
        with self._lock:
            self.state = self.state | values
            self.changes += 1

    def take(self, message: dict[str, Any]) -> None:
        """Take in a message of the training process, as `Watch` describes them."""
        with self._lock:
            self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        kind = message.pop("kind")
        if kind == "data":
            self.rows, self.losses = [], LossCurve()  # all are sent again by a resumed training
            self.update(**message, speed=None)
        elif kind == "speed":
            self.update(speed=message["speed"])
        elif kind == "losses":
            self.losses.add(message["first"], message["values"])
            self.update(lr=message["lr"], step=message["first"] + len(message["values"]))
        elif kind == "epoch":
            self.rows.append(message["row"])
        elif kind == "view":
            number = self.view.get("number", 0) + 1
            self.view = message | {"number": number}
            if "first_filters" not in self.state:
                self.update(first_filters=message["filters"])
            self.update(step=message["step"])
        elif kind == "confusion":
            self.update(confusion=message["counts"])
        elif kind == "state":
            self.update(status=message["state"])
        elif kind == "snapshots":
            self.update(snapshots=message["epochs"])
        elif kind == "lr":
            changes = [*self.state.get("lr_changes", ()), {"lr": message["lr"], "step": message["step"]}]
            self.update(lr=message["lr"], lr_changes=changes)

    def news(self, known: dict[str, Any]) -> dict[str, Any]:
        """Return what has changed since an earlier call, for a page that has the rest.

        Args:
            known: What the page has: empty at first, changed in place.
        """
        with self._lock:
            return self._news(known)

    def _news(self, known: dict[str, Any]) -> dict[str, Any]:
        rows, points = len(self.rows), len(self.losses.values)
        found: dict[str, Any] = {}
        if known.get("changes") != self.changes:
            before = known.get("state", {})
            found["state"] = {name: value for name, value in self.state.items() if before.get(name) is not value}
        if known.get("view") != self.view.get("number"):
            found["view"] = self.view
        first = known.get("rows", 0) if known.get("rows", 0) <= rows else 0
        if first < rows or first != known.get("rows", 0):
            found["rows"] = {"first": first, "values": self.rows[first:rows]}
        same = known.get("version") == (id(self.losses), self.losses.version) and known.get("points", 0) <= points
        start = known.get("points", 0) if same else 0
        if start < points:
            stride = self.losses.stride
            found["losses"] = {"first": start, "stride": stride, "values": self.losses.values[start:points]}
        known.update(changes=self.changes, state=self.state, view=self.view.get("number"), rows=rows, points=points)
        known["version"] = (id(self.losses), self.losses.version)
        return found
