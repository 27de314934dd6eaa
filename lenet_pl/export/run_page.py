"""The script of a page without a browser: it runs in Node.js, if that is installed."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lenet_pl.errors import DataError
from lenet_pl.export.formats import Predict

# The page's own script and data, in a context without a document, files or network
PROGRAM = r"""
const [, path, expression] = process.argv, fs = require("fs"), vm = require("vm");
const page = fs.readFileSync(path, "utf8"), inside = (mark) => page.split(mark)[1].split("</script>")[0];
const context = vm.createContext({ atob, bytes: new Uint8Array(fs.readFileSync(0)) });
context.content = inside('<script type="application/json" id="network">');
vm.runInContext(inside("<script>"), context);
const found = vm.runInContext("const network = readNetwork(JSON.parse(content)); " + expression, context);
process.stdout.write(JSON.stringify(found));
"""
LOGITS = """
const size = network.channels * network.side ** 2;
Array.from({ length: bytes.length / size }, (_, k) =>
  Array.from(forward(network, bytes.subarray(k * size, (k + 1) * size)).logits));
"""


def find_node() -> str | None:
    """Return the path of Node.js, or None."""
    return shutil.which("node") or shutil.which("nodejs")


def run_script(path: Path, node: str, expression: str, content: bytes = b"") -> Any:
    """Evaluate an expression with the functions of a page.

    Args:
        path: The page.
        node: The path of Node.js.
        expression: JavaScript, which finds the network in `network`, and `content` in `bytes`.
        content: Any bytes.

    Returns:
        The value, through JSON.

    Raises:
        DataError: The script fails.
    """
    done = subprocess.run([node, "-e", PROGRAM, str(path.resolve()), expression], input=content, capture_output=True)
    if done.returncode:
        lines = done.stderr.decode(errors="replace").split("\n")
        why = next((line.strip() for line in lines if "Error" in line), "it says nothing")
        raise DataError(f"{path}: its script fails in {node}: {why}")
    return json.loads(done.stdout)


def read_page(path: Path, node: str) -> Predict:
    """Return a function that computes logits with the script of a page."""

    def predict(images: Tensor) -> Tensor:
        rows = run_script(path, node, LOGITS, images.contiguous().numpy().tobytes())
        return torch.tensor([[float("nan") if logit is None else logit for logit in row] for row in rows])

    return predict
