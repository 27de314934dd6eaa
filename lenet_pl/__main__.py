"""All commands in one: `python -m lenet_pl train ...` is `python -m lenet_pl.train ...`; alone it lists them."""

import ast
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

import lenet_pl
from lenet_pl.streams import own_streams, report_lost_output

PACKAGE = Path(__file__).resolve().parent


def commands() -> dict[str, str]:
    """Map each command to the first line of its module, which says what it does and how it is called; `train` is first.

    The modules are read, not imported, and a command is what has both a module and a configuration.
    """
    from lenet_pl.composition import conf_dir  # Hydra takes a while, which only those need who ask or err

    found: dict[str, str] = {}
    for name in sorted((file.stem for file in conf_dir().glob("*.yaml")), key=lambda name: (name != "train", name)):
        for module in (PACKAGE / f"{name}.py", PACKAGE / name / "__main__.py"):
            text = module.read_text(encoding="utf-8") if module.is_file() else ""
            if "__main__" in text:
                found[name] = (ast.get_docstring(ast.parse(text)) or name).splitlines()[0].replace("`", "")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that is named first, or list all commands.

    Args:
        arguments: sys.argv without the program; None: those of this process.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    known = commands()
    if words and words[0] in known:
        sys.argv[1:] = words[1:]
        runpy.run_module(f"lenet_pl.{words[0]}", run_name="__main__", alter_sys=True)
        return
    with own_streams() as stdout:
        code = _answer(words, known)
    sys.exit(report_lost_output(code, stdout, worked=False))


def _answer(words: Sequence[str], known: dict[str, str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print("\n".join(known.values()))
        return 0
    if words[0] == "--version":
        print(f"lenet_pl {lenet_pl.__version__}")
        return 0
    from lenet_pl.errors import did_you_mean, printable

    near = did_you_mean(words[0], known)
    if "=" in words[0]:
        near = f"settings stand behind it, as in python -m lenet_pl train {printable(words[0])};"
    must = f"{near + ' ' if near else ''}must be one of {', '.join(known)}"
    print(f"error: {printable(words[0])}: no such command; {must}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
