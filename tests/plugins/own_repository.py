"""A repository of a user's own, outside ours: each part one file, without or with one file of configuration."""

from pathlib import Path
from textwrap import dedent

FILES = {
    "mine/__init__.py": """
        from mine import parts, resnet, shapes
    """,
    "mine/resnet.py": """
        import torch
        from torch import nn
        from lenet_pl.plugins import register


        class Block(nn.Module):
            def __init__(self, width):
                super().__init__()
                self.conv1, self.norm1 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
                self.conv2, self.norm2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)

            def forward(self, x):
                y = self.norm1(self.conv1(x)).relu()
                return (x + self.norm2(self.conv2(y))).relu()


        @register("model", "tiny_resnet")
        class TinyResNet(nn.Module):
            def __init__(self, num_classes, in_channels, image_size: int = 16, width: int = 8, depth: int = 1):
                super().__init__()
                self.stem = nn.Conv2d(in_channels, width, 3, padding=1)
                self.blocks = nn.Sequential(*(Block(width) for _ in range(depth)))
                self.head = nn.Linear(width, num_classes)

            def forward(self, images):
                return self.head(self.blocks(self.stem(images)).mean((2, 3)))
    """,
    "mine/shapes.py": """
        import numpy as np
        import torch
        from torch.utils.data import Dataset
        from lenet_pl.plugins import register


        @register("data", "bars")
        class Bars(Dataset):
            classes = ("horizontal", "vertical", "empty")

            def __init__(self, train: bool, count: int = 240, seed: int = 0):
                random = np.random.default_rng([seed, train])
                self.labels = np.arange(count) % 3
                self.images = random.integers(0, 60, (count, 12, 12), dtype=np.uint8)
                for image, label, place in zip(self.images, self.labels, random.integers(2, 10, count)):
                    if label == 0:
                        image[place] = 255
                    elif label == 1:
                        image[:, place] = 255

            def __len__(self):
                return len(self.labels)

            def __getitem__(self, index):
                return torch.from_numpy(self.images[index])[None] / 255, int(self.labels[index])
    """,
    "mine/parts.py": """
        from typing import Annotated

        import torch
        from lightning.pytorch.callbacks import Callback
        from lightning.pytorch.loggers import CSVLogger
        from pydantic import Field
        from torchmetrics.classification import MulticlassHingeLoss
        from torchvision.transforms import v2
        from lenet_pl.plugins import register
        from lenet_pl.settings import Settings

        register("optimizer", "adagrad")(torch.optim.Adagrad)
        register("scheduler", "warm_restarts")(torch.optim.lr_scheduler.CosineAnnealingWarmRestarts)
        register("transform", "blur")(v2.GaussianBlur)
        register("metric", "hinge")(MulticlassHingeLoss)
        register("logger", "table")(CSVLogger)


        class FocalSettings(Settings):
            gamma: Annotated[float, Field(ge=0, le=10)] = 2.0
            '''Exponent of the weight of hard images.'''


        @register("loss", "focal", settings=FocalSettings)
        def focal(logits, labels, gamma):
            log_p = logits.log_softmax(1).gather(1, labels[:, None])
            return -((1 - log_p.exp()) ** gamma * log_p).mean()


        @register("transform", "noise")
        def noise(images, strength: float = 0.05):
            return (images + strength * torch.randn_like(images)).clamp(0, 1)


        @register("callback", "count_epochs")
        class CountEpochs(Callback):
            def __init__(self, folder, title: str = "epochs"):
                self.file, self.title = folder / "counted.txt", title

            def on_train_epoch_end(self, trainer, pl_module):
                self.file.write_text(f"{self.title}: {trainer.current_epoch + 1}")
    """,
    "conf/experiment/bars.yaml": """
        # @package _global_
        defaults:
          - override /model: tiny_resnet
          - override /data: bars
          - override /loss: focal
          - override /optimizer: adagrad
          - override /scheduler: warm_restarts
          - override /transforms: [noise, blur]
          - override /metrics: [hinge, f1]
          - override /extra_callbacks: [count_epochs]
          - override /extra_loggers: [table]
        optimizer: {lr: 0.05}
        scheduler: {T_0: 2}
        transforms: {blur: {kernel_size: 3}}
        extra_loggers: {table: {name: table}}
        trainer: {max_epochs: 2}
    """,
}


def write_repository(folder: Path) -> Path:
    """Write the repository, and return its folder."""
    for name, text in FILES.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text).lstrip())
    return folder
