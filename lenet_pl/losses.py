"""What a training makes small; validation and test are always scored by cross entropy, so that runs compare.

Logits are minus the distances y of LeCun et al. 1998 where a network has those.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Loss:
    """Cross entropy, or one of the paper's two criteria.

    Attributes:
        name: cross_entropy; penalty, the mean of y_D, where D is the class of an image; or map, the mean of
            y_D + log(e^-j + Σ_i e^-y_i), which pushes the other classes away too.
        rubbish: j of map; what is further away than it from all classes is nothing that has to be pushed.

    Source: LeCun et al. 1998, section II.C, equations 8 and 9.
    """

    name: str = "cross_entropy"
    rubbish: float = 0.0

    def __call__(
        self, logits: Tensor, labels: Tensor, weight: Tensor | None = None, label_smoothing: float = 0.0
    ) -> Tensor:
        """Compute the mean over a batch, ().

        Args:
            logits: float (B, K).
            labels: int64 (B,).
            weight: float (K,), of each class; of cross entropy only, as is the next.
            label_smoothing: share of the target that is spread over all classes.
        """
        if self.name == "penalty":
            return -logits.gather(1, labels[:, None]).mean()
        return functional.cross_entropy(self._with_rubbish(logits), labels, weight, label_smoothing=label_smoothing)

    def shares(self, logits: Tensor) -> Tensor:
        """Compute how strongly each class is pushed away, float (B, K): the gradient, less that of the own class."""
        if self.name == "penalty":
            return torch.zeros_like(logits)
        return self._with_rubbish(logits).softmax(1)[:, : logits.shape[1]]

    def _with_rubbish(self, logits: Tensor) -> Tensor:
        """Add the class of all that is none, for map."""
        return functional.pad(logits, (0, 1), value=-self.rubbish) if self.name == "map" else logits


CROSS_ENTROPY = Loss()
