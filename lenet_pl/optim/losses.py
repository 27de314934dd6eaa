"""Training losses. Validation and test always report cross entropy, so that runs are comparable.

Networks that compute the distances y of LeCun et al. 1998 return the logits -y.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lenet_pl.settings import LossSettings


@dataclass(frozen=True)
class Loss:
    """Cross entropy, or one of the two criteria of LeCun et al. 1998.

    Attributes:
        name: The criterion. `cross_entropy`; `mle`, the mean of y_D, where D is the true class; or `map`, the mean
            of y_D + log(e^-j + Σ_i e^-y_i), which also pushes the other classes away.
        rubbish: The penalty j of the paper's "rubbish class", for `map` only. Classes whose penalty exceeds it are
            hardly pushed any further.

    Source: LeCun et al. 1998, section II.C, equations 8 and 9.
    """

    name: str = "cross_entropy"
    rubbish: float = 0.0

    def __call__(
        self, logits: Tensor, labels: Tensor, weight: Tensor | None = None, label_smoothing: float = 0.0
    ) -> Tensor:
        """Compute the mean loss of a batch.

        Args:
            logits: Network outputs, float (B, K).
            labels: True classes, int64 (B,).
            weight: Class weights, float (K,); None for equal weights. Ignored by `penalty`.
            label_smoothing: The fraction of the target that is spread over all classes. Ignored by `penalty`.

        Returns:
            A scalar tensor (), in nats for cross entropy.
        """
        if self.name == "mle":
            return -logits.gather(1, labels[:, None]).mean()
        return functional.cross_entropy(
            self._append_rubbish_logit(logits), labels, weight, label_smoothing=label_smoothing
        )

    def class_probabilities(self, logits: Tensor) -> Tensor:
        """Compute the probabilities by which the classes are pushed away, float (B, K).

        They are the gradient of the loss with respect to the logits, without the term of the true class: zero for
        `mle`, and a softmax that includes the rubbish class for `map`.
        """
        if self.name == "mle":
            return torch.zeros_like(logits)
        return self._append_rubbish_logit(logits).softmax(1)[:, : logits.shape[1]]

    def _append_rubbish_logit(self, logits: Tensor) -> Tensor:
        """Append the logit -j of the rubbish class, for `map`."""
        return functional.pad(logits, (0, 1), value=-self.rubbish) if self.name == "map" else logits


CROSS_ENTROPY = Loss()


def build_own(settings: LossSettings) -> Loss:
    """Build one of the project's own losses from its settings."""
    return Loss(settings.name, settings.rubbish_penalty)
