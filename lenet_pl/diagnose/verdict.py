"""What a diagnosis says: suspicions, short trainings that test them, and verdicts."""

from dataclasses import asdict, dataclass, field
from typing import Any

from lenet_pl.diagnose.changes import Change

# Each fault that is looked for, and what it means in a table
FAULTS = {
    "lr_too_high": "learning rate too high",
    "lr_too_low": "learning rate too low",
    "input_statistics": "inputs far from mean 0 and standard deviation 1",
    "constant_channel": "a channel of the images is constant",
    "initial_loss": "confidently wrong before the first step",
    "dead_units": "dead units",
    "saturated_units": "saturated units",
    "vanishing_gradients": "vanishing gradients",
    "exploding_gradients": "exploding gradients",
    "label_noise": "labels that do not fit the images",
    "not_shuffled": "sorted images that are not shuffled",
    "too_few_images": "too few training images",
    "class_imbalance": "rare classes that are not learned",
    "duplicates": "the same images in training and validation",
    "dropout_too_high": "dropout too high",
    "weight_decay_too_high": "weight decay too high",
    "augmentation_too_strong": "augmentation too strong",
    "batch_norm_small_batch": "batches too small for batch normalization",
    "overfitting": "overfitting",
    "too_few_epochs": "stopped while it was still learning",
}


@dataclass(frozen=True)
class Suspicion:
    """A fault that the evidence points to.

    Attributes:
        fault: A key of `FAULTS`.
        finding: One sentence.
        evidence: Figures by what they are, as plain JSON values.
        advice: What to change, as settings or in words.
        change: The change of settings that a short training tests; empty if no setting can show the fault.
        confidence: How much the evidence weighs if no short training was made, from 0 to 1.
        remains: The confidence if the short training does not support it; 0: the suspicion is dropped.
        figure: The name of a figure that shows the evidence; "" for none.
    """

    fault: str
    finding: str
    evidence: dict[str, Any]
    advice: str
    change: Change = field(default_factory=dict)
    confidence: float = 0.5
    remains: float = 0.0
    figure: str = ""


@dataclass(frozen=True)
class Proof:
    """Short trainings with and without one change.

    Attributes:
        change: The change, as on the command line.
        steps: The number of optimizer steps of each.
        seeds: The seeds of the trainings, in pairs.
        before: The validation accuracy of the training as it was, for each seed.
        after: The same with the change.
        recorded: The best validation accuracy in the run folder, with more steps; None without one.
        supports: Whether the change helps by more than chance.
        images: The number of validation images.
    """

    change: str
    steps: int
    seeds: list[int]
    before: list[float]
    after: list[float]
    recorded: float | None
    supports: bool
    images: int


@dataclass(frozen=True)
class Verdict:
    """A suspicion, and what a short training says about it.

    Attributes:
        suspicion: The suspicion.
        proof: The short trainings; None if none was made.
        untested: Why none was made; "" if one was.
        confidence: From 0 to 1.
    """

    suspicion: Suspicion
    proof: Proof | None
    untested: str
    confidence: float

    def as_plain(self) -> dict[str, Any]:
        """Write as plain JSON values: `fault`, `finding`, `confidence`, `evidence`, `advice`, `proof`, `untested`."""
        one = self.suspicion
        return {
            "fault": one.fault,
            "finding": one.finding,
            "confidence": round(self.confidence, 3),
            "evidence": one.evidence,
            "advice": one.advice,
            "proof": asdict(self.proof) if self.proof else None,
            "untested": self.untested,
        }
