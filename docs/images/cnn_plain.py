"""Draw why `cnn_plain_mnist` stays at chance: `python docs/images/cnn_plain.py <folder>`.

The tutorial's own loop trains for STEPS steps with one thing changed at a time. After each step the loss is recorded,
and at some of them the share of the units of each convolution that are 0 for every one of 500 test images. Writes
cnn_plain.json and cnn_plain.png into the folder. MNIST is in `data` or LENET_PL_DATA, or is downloaded.
"""

import json
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn, optim

from lenet_pl.benchmark.tutorials.loop import Images, TrainingSet, pictures, tensors
from lenet_pl.benchmark.tutorials.measure import read_images
from lenet_pl.benchmark.tutorials.recipes import MNIST, RECIPES, Recipe
from lenet_pl.display.figure import Figure, save_figures, styled
from lenet_pl.settings import TrainSettings
from lenet_pl.settings.compose import compose

STEPS, EVERY, SEED = 200, 10, 0
PLAIN = RECIPES["cnn_plain_mnist"]


def leaky() -> nn.Module:
    """Build the same network with leaky ReLU, whose units cannot die."""
    network = PLAIN.network()
    for name, layer in list(network.named_children()):
        if isinstance(layer, nn.ReLU):
            setattr(network, name, nn.LeakyReLU(0.1))
    return network


VARIANTS = {
    "as the tutorial": PLAIN,
    "new order": replace(PLAIN, shuffle=True),
    "normalized": replace(PLAIN, normalize=MNIST),
    "leaky ReLU": replace(PLAIN, network=leaky),
    "lr 0.003": replace(PLAIN, lr=3e-3),
    "lr 0.001": replace(PLAIN, lr=1e-3),
}


def dead(network: nn.Module, inputs: torch.Tensor) -> list[float]:
    """Return the share of units of each activation that are 0 or less for every input."""
    shares = []
    with torch.no_grad():
        for layer in network.children():
            inputs = layer(inputs)
            if isinstance(layer, nn.ReLU | nn.LeakyReLU):
                shares.append(round(float((inputs <= 0).all(0).float().mean()), 4))
    return shares


def train(recipe: Recipe, images: Images, test: Images) -> dict[str, Any]:
    """Train for STEPS steps; the loss of each, dead units, and the accuracy on 2,000 test images."""
    torch.manual_seed(SEED)
    network = recipe.network()
    optimizer = optim.Adam(network.parameters(), recipe.lr)
    inputs = tensors(recipe, pictures(recipe, test.pixels))
    losses, shares = [], {0: dead(network, inputs[:500])}
    batches = TrainingSet(recipe, images, torch.arange(len(images.labels))).batches()
    for step, (pixels, labels) in enumerate(islice(batches, STEPS), 1):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(pixels), labels)
        loss.backward()
        optimizer.step()
        losses.append(round(loss.item(), 4))
        if step % EVERY == 0:
            shares[step] = dead(network, inputs[:500])
    with torch.no_grad():
        accuracy = float((network(inputs).argmax(1) == test.labels).float().mean())
    return {"losses": losses, "dead": shares, "accuracy": round(accuracy, 4)}


@styled
def draw(found: dict[str, Any]) -> Figure:
    """Draw the loss of each variant, and the dead units of its last convolution."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, one in found.items():
        left.plot(range(1, STEPS + 1), one["losses"], label=name, linewidth=1)
        right.plot([int(step) for step in one["dead"]], [100 * shares[-1] for shares in one["dead"].values()])
    left.set(xlabel="step", ylabel="training loss (nats)", yscale="log")
    right.set(xlabel="step", ylabel="dead units of the last convolution (%)")
    left.legend()
    return figure


def main(folder: Path) -> None:
    """Train every variant, and write the figure."""
    given = compose("train", TrainSettings, ["run=unused", f"experiment={PLAIN.name}"])
    train_images, test_images = read_images(given)
    count = STEPS * PLAIN.batch_size
    images = Images(train_images.pixels[:count], train_images.labels[:count])
    test = Images(test_images.pixels[:2000], test_images.labels[:2000])
    found: dict[str, Any] = {}
    for name, recipe in VARIANTS.items():
        found[name] = train(recipe, images, test)
        print(name, found[name]["losses"][-1], found[name]["accuracy"], found[name]["dead"][STEPS], flush=True)
    (folder / "cnn_plain.json").write_text(json.dumps(found) + "\n", encoding="utf-8")
    save_figures(folder, {"cnn_plain": draw(found)})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
