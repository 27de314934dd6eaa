"""Initial weights from an earlier training."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from lenet_pl.errors import SettingError
from lenet_pl.models.layer_selection import head_of

MAY_DIFFER = ("name", "dropout")  # settings of a network that its weights do not depend on


@dataclass(frozen=True)
class InitialWeights:
    """Weights of an earlier training, with the normalization of its images.

    Attributes:
        place: The file, as printed.
        sha256: The digest of the file.
        statistics: The mean and standard deviation per channel with which its images were normalized.
        classes: The class names, in the order of the labels.
        architecture: The settings of the network, as plain values.
        weights: The state dict of the network; with EMA, the averaged weights. Empty for a run that is resumed, which
            has its weights in its checkpoint.
    """

    place: str
    sha256: str
    statistics: tuple[list[float], list[float]]
    classes: tuple[str, ...] = ()
    architecture: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, Tensor] = field(default_factory=dict)

    def load_into(
        self, model: nn.Module, classes: tuple[str, ...], settings: Mapping[str, Any], *, reset_head: bool | None = None
    ) -> None:
        """Copy the weights into a network, except those of a head that is reset.

        Args:
            model: The network, with random weights.
            classes: The class names of the new data.
            settings: The settings of the network, as plain values.
            reset_head: Whether the head keeps its random weights; None: if the class names differ.

        Raises:
            SettingError: The weights are those of another architecture or input.
        """
        if not self.weights:
            return
        head = self.new_head(model, classes, reset_head=reset_head)
        target = model.state_dict()
        wanted = {name: value for name, value in target.items() if not _is_in(name, head)}
        given = {name: value for name, value in self.weights.items() if not _is_in(name, head)}
        same = f"must be a network of the same architecture and input, such as {_name(self.architecture)}"
        for name in (*wanted, *given):
            there, here = (tuple(some[name].shape) if name in some else None for some in (given, wanted))
            if there != here:
                raise SettingError(
                    f"init_from: {name} is {_shape(there)} in {self.place} and {_shape(here)} in "
                    f"{_name(settings)}; {same}"
                )
        for key, there in self.architecture.items():
            if key not in MAY_DIFFER and key in settings and settings[key] != there:
                raise SettingError(
                    f"init_from: {self.place} was trained with model.{key}={there}, but here it is {settings[key]}; "
                    f"{same}"
                )
        model.load_state_dict(target | given)

    def new_head(self, model: nn.Module, classes: tuple[str, ...], *, reset_head: bool | None = None) -> str | None:
        """Return the name of the layer that is reset, or None.

        Raises:
            SettingError: `reset_head` is false although the number of classes differs.
        """
        if reset_head is False and len(classes) != len(self.classes):
            raise SettingError(
                f"reset_head: got false, but {self.place} has {len(self.classes)} classes and the data have "
                f"{len(classes)}; must be null or true"
            )
        resets = classes != self.classes if reset_head is None else reset_head
        return head_of(model, len(classes)) if resets else None

    def describe(self, model: nn.Module, classes: tuple[str, ...], *, reset_head: bool | None = None) -> str:
        """Describe in one line what is loaded, and whether the head is new."""
        head = self.new_head(model, classes, reset_head=reset_head)
        if head is None:
            return f"initial weights: {self.place}"
        why = "since reset_head=true"
        if reset_head is None:
            numbers = f"{len(self.classes)} there, {len(classes)} here"
            why = (
                f"since the classes differ ({numbers})"
                if len(classes) != len(self.classes)
                else ("since the classes have other names")
            )
        return f"initial weights: {self.place}; the head, {head}, is new {why}"


def _is_in(name: str, layer: str | None) -> bool:
    return layer is not None and name.startswith(f"{layer}.")


def _shape(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else f"of shape {shape}"


def _name(settings: Mapping[str, Any]) -> str:
    return f"model={settings.get('name', '?')}"
