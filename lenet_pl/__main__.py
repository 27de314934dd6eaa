"""The verbs, a line each: `python -m lenet_pl`."""

import ast
from pathlib import Path

from lenet_pl.composition import conf_dir

PACKAGE = Path(__file__).resolve().parent


def verbs() -> dict[str, str]:
    """Map each verb to the first line of its module, which says what it does and how it is written; `train` is first.

    The modules are read, not imported, and a verb is what has both a module and a configuration.
    """
    found: dict[str, str] = {}
    for name in sorted((file.stem for file in conf_dir().glob("*.yaml")), key=lambda name: (name != "train", name)):
        for module in (PACKAGE / f"{name}.py", PACKAGE / name / "__main__.py"):
            text = module.read_text(encoding="utf-8") if module.is_file() else ""
            if "__main__" in text:
                found[name] = (ast.get_docstring(ast.parse(text)) or name).splitlines()[0].replace("`", "")
    return found


if __name__ == "__main__":
    print("\n".join(verbs().values()))
