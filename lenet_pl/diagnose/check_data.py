"""Signs of faults in the data: inputs, labels, order, amount, balance, copies."""

from statistics import median

from lenet_pl.diagnose.examination import Examination
from lenet_pl.diagnose.verdict import Suspicion

# Of the square of an input, on average, a mean of three standard deviations is 90 %: the weights of the first layer see
# a constant rather than an image. White paper at 1 and black ink at 0 reach 2.8.
OFFSET = 3.0
SCALE = (
    0.05,
    20.0,
)  # standard deviations of inputs; [0, 1] with little ink has 0.1, and Adam copes with a factor of 10
NOISE = 0.2  # of the labels; on clean sets 0.03 (digits), 0.06 (MNIST) and 0.13 (Fashion-MNIST) are estimated
EVEN = 0.9  # of the entropy of pairs drawn at random
SORTED = 0.7  # of the classes that a batch drawn at random has
IMBALANCE = 10.0  # times as many images of a frequent class as of a rare one
COPIES = 0.01  # of the validation images; an accuracy is then wrong by up to a point
LEARNED = 0.05  # accuracy above chance, beyond which labels do have to do with the images


def check_input_statistics(found: Examination) -> Suspicion | None:
    """Suspect inputs far from mean 0 and standard deviation 1.

    Source: LeCun, Bottou, Orr and Müller 1998, "Efficient BackProp", section 4.3.
    """
    odd = {
        k: one
        for k, one in enumerate(found.inputs)
        if one.stored_std > 0 and (abs(one.mean) > OFFSET * one.std or not SCALE[0] <= one.std <= SCALE[1])
    }
    if not odd:
        return None
    number, worst = next(iter(odd.items()))
    settings = found.run.settings
    change: dict[str, object] = {"input_range": None} if settings.input_range else {}
    advice = "input_range=null"
    if not change and settings.init_from:
        change, advice = {"init_from": None}, "init_from=null"
    return Suspicion(
        "input_statistics",
        f"the inputs of channel {number} have mean {worst.mean:.3g} and standard deviation {worst.std:.3g}, instead of "
        "about 0 and 1",
        {
            f"{what} of channel {k}": getattr(one, what)
            for k, one in enumerate(found.inputs)
            for what in ("mean", "std")
        },
        advice,
        change,
        confidence=0.7,
        remains=0.5,
    )


def check_constant_channel(found: Examination) -> Suspicion | None:
    """Report a channel in which all stored images are the same."""
    constant = [k for k, one in enumerate(found.inputs) if one.stored_std == 0]
    if not constant:
        return None
    return Suspicion(
        "constant_channel",
        f"channel {constant[0]} has the same level in every pixel of the training images that were read",
        {f"standard deviation of the levels of channel {k}": one.stored_std for k, one in enumerate(found.inputs)},
        "read the images again, or leave the channel out (data=folder: data.color_mode=gray)",
        confidence=0.95,
    )


def check_label_noise(found: Examination) -> Suspicion | None:
    """Suspect labels if similar images have different ones, as evenly as if they were drawn at random."""
    labels = found.labels
    if labels is None:
        return None
    chance = max(found.class_counts) / sum(found.class_counts)
    learned = found.best_accuracy > chance + LEARNED
    evidence = {
        "images compared": labels.images,
        "most similar image has the same label": labels.agreement,
        "the same at random": labels.chance,
        "validation accuracy": found.best_accuracy,
    }
    advice = "compare labels and images by eye: python -m lenet_pl.inspect shows those that are probably wrong"
    if labels.random and not learned:
        return Suspicion(
            "label_noise",
            f"the labels have nothing to do with the images: the most similar image has the same label in "
            f"{labels.agreement:.1%} of the cases, at random in {labels.chance:.1%}",
            evidence,
            advice,
            confidence=0.9,
        )
    # With as many wrong labels in the validation split, no network can be right more often than that. Of photos the
    # most similar ones by pixels are often of other classes, without a wrong label
    beaten = found.best_accuracy > 1 - labels.noise + LEARNED
    if labels.random or not learned or beaten or labels.noise < NOISE or labels.evenness < EVEN:
        return None
    return Suspicion(
        "label_noise",
        f"about {labels.noise:.0%} of the labels are wrong, as if drawn at random: similar images differ in them",
        evidence | {"estimated fraction of wrong labels": labels.noise, "evenness over the classes": labels.evenness},
        advice,
        confidence=0.8,
    )


def check_not_shuffled(found: Examination) -> Suspicion | None:
    """Report sorted training images whose order is not drawn again; an order that is random already does no harm."""
    if found.classes_per_batch >= SORTED * found.classes_expected:
        return None
    return Suspicion(
        "not_shuffled",
        f"the images are sorted and not shuffled: a batch has {found.classes_per_batch:.1f} different classes on "
        f"average, at random {found.classes_expected:.1f}",
        {"classes in a batch": found.classes_per_batch, "the same at random": found.classes_expected},
        "loader.shuffle=true",
        {"loader.shuffle": True},
        confidence=0.8,
        remains=0.6,
    )


def check_class_imbalance(found: Examination) -> Suspicion | None:
    """Suspect rare classes if the run learns little beyond the frequent ones."""
    counts = sorted(found.class_counts)
    share = counts[-1] / sum(counts)
    if counts[-1] < IMBALANCE * max(1, counts[0]) or found.best_accuracy > share + LEARNED:
        return None
    if getattr(found.run.settings.loss, "class_weights", None):
        return None
    return Suspicion(
        "class_imbalance",
        f"the rarest class has {counts[0]:,} training images and the most frequent {counts[-1]:,}, and the accuracy is "
        f"that of predicting the most frequent alone",
        {
            "images of the rarest class": counts[0],
            "median": median(counts),
            "images of the most frequent class": counts[-1],
            "validation accuracy": found.best_accuracy,
            "share of the most frequent class": share,
        },
        "loss.class_weights=balanced",
        confidence=0.5,
    )


def check_duplicates(found: Examination) -> Suspicion | None:
    """Report validation images that are in the training split, too."""
    if found.copies < max(1, COPIES * found.compared):
        return None
    return Suspicion(
        "duplicates",
        f"{found.copies:,} of {found.compared:,} validation images equal a training image pixel by pixel, so the "
        "validation accuracy is too high",
        {"copies": found.copies, "validation images compared": found.compared},
        "remove the copies: python -m lenet_pl.inspect lists them",
        confidence=0.9,
    )
