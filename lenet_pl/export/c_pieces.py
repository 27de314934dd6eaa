"""The constants and functions that the code of a C file needs."""

from importlib import resources

from lenet_pl.export.c_text import array
from lenet_pl.export.integer_layers import Array


class CPieces:
    """Constants and functions, collected while the code is written.

    Attributes:
        arrays: The definitions of the constant arrays.
        structs: The definitions of the layers, which refer to arrays.
        kernels: The sections of kernels.c that are used.
        constants: The bytes of weights, biases, scales and tables.
        ram: The bytes of the static buffers.
    """

    def __init__(self) -> None:
        self.arrays: list[str] = []
        self.structs: list[str] = []
        self.kernels = {"requantize"}
        self.constants = self.ram = 0

    def add(self, name: str, values: Array) -> None:
        """Add a constant array."""
        self.arrays.append(array(name, values))
        self.constants += values.nbytes

    def kernel_code(self) -> str:
        """Return the functions that are used, in the order of kernels.c."""
        sections = resources.files("lenet_pl.export").joinpath("kernels.c").read_text().split("//// ")[1:]
        return "".join(code for title, _, code in (part.partition("\n") for part in sections) if title in self.kernels)
