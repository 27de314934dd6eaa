"""The layers of the published LeNets that torch does not have, and their initial weights.

Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition", section II.B and appendix A.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

# Digits of the size of the paper's figure 3, 7×12 px, drawn anew; # stands for +1 and . for -1
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
    """Read the drawings of the ten digits, float (10, 84) of -1 and +1, row by row."""
    rows = [line.split() for line in GLYPHS.strip().splitlines()]
    digits = ["".join(column) for column in zip(*rows, strict=True)]
    return torch.tensor([[1.0 if px == "#" else -1.0 for px in digit] for digit in digits])


class ScaledTanh(nn.Module):
    """The paper's squashing function, A·tanh(S·a): f(1) = 1, f(-1) = -1, steepest between."""

    AMPLITUDE = 1.7159
    SLOPE = 2 / 3

    def forward(self, sums: Tensor) -> Tensor:
        """Squash each number by itself."""
        return self.AMPLITUDE * torch.tanh(self.SLOPE * sums)


class TrainableSubsampling(nn.Module):
    """Sum of each 2×2 block times a coefficient plus a bias, one of each per map; a squashing function follows."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.coefficient = nn.Parameter(torch.empty(maps))
        self.bias = nn.Parameter(torch.empty(maps))

    def forward(self, maps: Tensor) -> Tensor:
        """Float (B, C, H, W) → (B, C, H/2, W/2)."""
        means = functional.avg_pool2d(maps, 2)
        return means * (4 * self.coefficient).view(-1, 1, 1) + self.bias.view(-1, 1, 1)


class SparseConv2d(nn.Module):
    """A convolution in which each output map sees some of the input maps; what is not connected is no parameter.

    The weights that exist are put into a kernel of zeros for each step, as one dense convolution takes less time than
    several small ones.

    Args:
        table: for each input map a row with one place for each output map; true where they are connected.
        kernel_size: px.
    """

    places: Tensor

    def __init__(self, table: Sequence[Sequence[bool]], kernel_size: int) -> None:
        super().__init__()
        connected = torch.tensor(table).T  # (output maps, input maps)
        self.fan_in = connected.sum(1) * kernel_size**2  # inputs of a unit of each output map
        self.maps, self.kernel_size = connected.shape, kernel_size
        self.register_buffer("places", connected.flatten().nonzero()[:, 0], persistent=False)
        self.weight = nn.Parameter(torch.empty(len(self.places), kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.empty(self.maps[0]))

    def kernel(self) -> Tensor:
        """Put the weights into their places, float (output maps, input maps, k, k)."""
        size = self.kernel_size
        dense = self.weight.new_zeros(self.maps[0] * self.maps[1], size, size).index_copy(0, self.places, self.weight)
        return dense.view(*self.maps, size, size)

    def forward(self, maps: Tensor) -> Tensor:
        """Float (B, C, H, W) → (B, output maps, H-k+1, W-k+1)."""
        return functional.conv2d(maps, self.kernel(), self.bias)


class RBFOutput(nn.Module):
    """Minus the squared distance to each class's code, so that the largest is the likeliest, as with other logits.

    Args:
        codes: float (K, F), fixed.
    """

    codes: Tensor

    def __init__(self, codes: Tensor) -> None:
        super().__init__()
        self.register_buffer("codes", codes)

    def forward(self, values: Tensor) -> Tensor:
        """Float (B, F) → -y, float (B, K)."""
        return -(values.unsqueeze(1) - self.codes).square().sum(2)


def convolve_twice(channels: int, maps: int, table: Sequence[Sequence[bool]]) -> nn.Sequential:
    """Build what the published LeNets have before their fully connected layers.

    Args:
        channels: C of the images.
        maps: of the first convolution, which has kernels of 5×5 like the second.
        table: which of these each map of the second convolution sees; see `SparseConv2d`.
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


def read_table(text: str) -> list[list[bool]]:
    """Read a table of connections, 1 or 0 for each."""
    return [[place == "1" for place in row.split()] for row in text.strip().splitlines()]


def draw_weights(model: nn.Module, exponent: float) -> None:
    """Draw weights and biases uniformly from ±2.4/F**exponent, where F is the number of inputs of a unit."""
    for layer in model.modules():
        if isinstance(layer, SparseConv2d):
            # One F for each connection, and one for each output map
            bounds = {"weight": layer.fan_in[layer.places // layer.maps[1]].view(-1, 1, 1), "bias": layer.fan_in}
        else:
            weight = getattr(layer, "weight", None)
            inputs = 4 if isinstance(layer, TrainableSubsampling) else weight[0].numel() if weight is not None else 1
            bounds = {name: torch.tensor(inputs) for name, _ in layer.named_parameters(recurse=False)}
        for name, inputs_of in bounds.items():
            with torch.no_grad():
                layer.get_parameter(name).uniform_(-1, 1).mul_(2.4 / inputs_of**exponent)
