"""Training losses. Validation and test always report cross entropy, so that runs are comparable.

Networks that compute the distances y of LeCun et al. 1998 return the logits -y.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lenet_pl.settings import LossSettings


class Loss(nn.Module):
    """Cross entropy, or one of the two criteria of LeCun et al. 1998.

    Args:
        name: The criterion. `cross_entropy`; `mle`, the mean of y_D, where D is the true class; or `map`, the mean
            of y_D + log(e^-j + Σ_i e^-y_i), which also pushes the other classes away.
        rubbish_penalty: The penalty j of the paper's "rubbish class", for `map` only. Classes whose penalty exceeds it
            are hardly pushed any further.
        class_weights: The weight of each class, float (K,); None for equal weights. Ignored by `mle`.
        label_smoothing: The fraction of the target that is spread over all classes. Ignored by `mle`.

    Source: LeCun et al. 1998, section II.C, equations 8 and 9.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        name: str = "cross_entropy",
        rubbish_penalty: float = 0.0,
        class_weights: Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.name, self.rubbish_penalty, self.label_smoothing = name, rubbish_penalty, label_smoothing
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, logits: Tensor, labels: Tensor, reduction: str = "mean") -> Tensor:
        """Compute the loss of a batch.

        Args:
            logits: Network outputs, float (B, K).
            labels: True classes, int64 (B,).
            reduction: "mean", or "none" for the loss of each image, times its class weight.

        Returns:
            A scalar tensor (), or (B,), in nats for cross entropy.
        """
        if self.name == "mle":
            distances = -logits.gather(1, labels[:, None])
            return distances.mean() if reduction == "mean" else distances[:, 0]
        return functional.cross_entropy(
            self._append_rubbish_logit(logits),
            labels,
            self.class_weights,
            reduction=reduction,
            label_smoothing=self.label_smoothing,
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
        return functional.pad(logits, (0, 1), value=-self.rubbish_penalty) if self.name == "map" else logits


def build_own(settings: LossSettings, class_weights: Tensor | None = None) -> Loss:
    """Build one of the project's own losses from its settings.

    Args:
        settings: The settings of the loss.
        class_weights: The weight of each class, float (K,); None for equal weights.
    """
    return Loss(settings.name, settings.rubbish_penalty, class_weights, settings.label_smoothing)
