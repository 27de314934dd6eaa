"""Layers of the published LeNets that are not in torch, and their initialization.

Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition", section II.B and appendix A.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

# Digits of 7×12 px in the style of the paper's figure 3; # stands for +1 and . for -1
GLYPHS = """
..###..   ...#...   .#####.   .#####.   .....#.   #######   ..####.   #######   .#####.   .#####.
.#...#.   ..##...   #.....#   #.....#   ....##.   #......   .#.....   ......#   #.....#   #.....#
#.....#   .#.#...   ......#   ......#   ...#.#.   #......   #......   ......#   #.....#   #.....#
#.....#   ...#...   ......#   ......#   ..#..#.   #......   #......   .....#.   #.....#   #.....#
#.....#   ...#...   .....#.   ......#   .#...#.   #......   #......   .....#.   .#...#.   #.....#
#.....#   ...#...   ....#..   ..####.   #....#.   ######.   ######.   ....#..   ..###..   .######
#.....#   ...#...   ...#...   ......#   #######   ......#   #.....#   ....#..   .#...#.   ......#
#.....#   ...#...   ..#....   ......#   .....#.   ......#   #.....#   ...#...   #.....#   ......#
#.....#   ...#...   .#.....   ......#   .....#.   ......#   #.....#   ...#...   #.....#   ......#
#.....#   ...#...   #......   ......#   .....#.   ......#   #.....#   ..#....   #.....#   ......#
.#...#.   ...#...   #......   #.....#   .....#.   #.....#   #.....#   ..#....   #.....#   .....#.
..###..   .#####.   #######   .#####.   .....#.   .#####.   .#####.   ..#....   .#####.   ..####.
"""


def digit_codes() -> Tensor:
    """Return the bitmaps of the ten digits, flattened row by row, as -1 and +1; float of shape (10, 84)."""
    rows = [line.split() for line in GLYPHS.strip().splitlines()]
    digits = ["".join(column) for column in zip(*rows, strict=True)]
    return torch.tensor([[1.0 if px == "#" else -1.0 for px in digit] for digit in digits])


class ScaledTanh(nn.Module):
    """The paper's squashing function, A·tanh(S·a), with f(1) = 1 and f(-1) = -1."""

    AMPLITUDE = 1.7159
    SLOPE = 2 / 3

    def forward(self, sums: Tensor) -> Tensor:
        """Apply the function elementwise to a float tensor of any shape."""
        return self.AMPLITUDE * torch.tanh(self.SLOPE * sums)


class TrainableSubsampling(nn.Module):
    """Subsampling that multiplies the sum of each 2×2 block by a coefficient and adds a bias, both trained per map.

    Args:
        maps: The number of feature maps.
    """

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.coefficient = nn.Parameter(torch.empty(maps))
        self.bias = nn.Parameter(torch.empty(maps))

    def forward(self, maps: Tensor) -> Tensor:
        """Map float of shape (B, C, H, W) to (B, C, H/2, W/2)."""
        means = functional.avg_pool2d(maps, 2)
        return means * (4 * self.coefficient).view(-1, 1, 1) + self.bias.view(-1, 1, 1)


class SparseConv2d(nn.Module):
    """Convolution in which each output map is connected to some of the input maps only.

    Only existing connections have parameters. They are scattered into a kernel of zeros in every step, because one
    dense convolution is faster than several small ones.

    Args:
        table: The connections, with one row per input map and one column per output map.
        kernel_size: The height and width of the kernels in px.
    """

    places: Tensor

    def __init__(self, table: Sequence[Sequence[bool]], kernel_size: int) -> None:
        super().__init__()
        connected = torch.tensor(table).T  # (output maps, input maps)
        self.fan_in = connected.sum(1) * kernel_size**2  # inputs per unit, for each output map
        self.maps, self.kernel_size = connected.shape, kernel_size
        self.register_buffer("places", connected.flatten().nonzero()[:, 0], persistent=False)
        self.weight = nn.Parameter(torch.empty(len(self.places), kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.empty(self.maps[0]))

    def kernel(self) -> Tensor:
        """Return the dense kernel, float of shape (output maps, input maps, k, k)."""
        size = self.kernel_size
        dense = self.weight.new_zeros(self.maps[0] * self.maps[1], size, size).index_copy(0, self.places, self.weight)
        return dense.view(*self.maps, size, size)

    def forward(self, maps: Tensor) -> Tensor:
        """Map float of shape (B, input maps, H, W) to (B, output maps, H-k+1, W-k+1)."""
        return functional.conv2d(maps, self.kernel(), self.bias)


class RBFOutput(nn.Module):
    """Negative squared distance to the code of each class, so that the largest output is the prediction, as for logits.

    Args:
        codes: The fixed codes of the classes, float of shape (K, F).
    """

    codes: Tensor

    def __init__(self, codes: Tensor) -> None:
        super().__init__()
        self.register_buffer("codes", codes)

    def forward(self, values: Tensor) -> Tensor:
        """Map float of shape (B, F) to the negative distances -y of the paper, of shape (B, K)."""
        return -(values.unsqueeze(1) - self.codes).square().sum(2)


def build_lenet_features(channels: int, maps: int, table: Sequence[Sequence[bool]]) -> nn.Sequential:
    """Build the layers of the published LeNets before their fully connected layers.

    Args:
        channels: The number of image channels.
        maps: The number of feature maps of the first convolution. Both convolutions have 5×5 kernels.
        table: The connections of the second convolution; see `SparseConv2d`.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(channels, maps, 5),
        activation1=ScaledTanh(),
        subsampling1=TrainableSubsampling(maps),
        squashing1=ScaledTanh(),
        conv2=SparseConv2d(table, 5),
        activation2=ScaledTanh(),
        subsampling2=TrainableSubsampling(len(table[0])),
        squashing2=ScaledTanh(),
    )
    return nn.Sequential(layers)


def parse_connection_table(text: str) -> list[list[bool]]:
    """Parse a table of connections, written as rows of 1 and 0."""
    return [[entry == "1" for entry in row.split()] for row in text.strip().splitlines()]


def init_weights_(model: nn.Module, exponent: float) -> None:
    """Initialize weights and biases uniformly in ±2.4/F**exponent, where F is the number of inputs of a unit."""
    for layer in model.modules():
        if isinstance(layer, SparseConv2d):
            # Weights have one F per connection, biases one per output map
            bounds = {"weight": layer.fan_in[layer.places // layer.maps[1]].view(-1, 1, 1), "bias": layer.fan_in}
        else:
            weight = getattr(layer, "weight", None)
            inputs = 4 if isinstance(layer, TrainableSubsampling) else weight[0].numel() if weight is not None else 1
            bounds = {name: torch.tensor(inputs) for name, _ in layer.named_parameters(recurse=False)}
        for name, inputs_of in bounds.items():
            with torch.no_grad():
                layer.get_parameter(name).uniform_(-1, 1).mul_(2.4 / inputs_of**exponent)
