"""One entry point for all commands: `python -m lenet_pl train ...` runs `python -m lenet_pl.train ...`.

Without a command, it lists them.
"""

import ast
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

import lenet_pl
from lenet_pl.runtime.streams import own_streams, report_lost_output

PACKAGE = Path(__file__).resolve().parent


def commands() -> dict[str, str]:
    """Map each command to the first line of its `__main__` docstring, a description with an example.

    A command has both a module and a configuration file. `train` comes first. The modules are parsed, not imported.
    """
    from lenet_pl.settings.compose import conf_dir  # imports Hydra, which is slow

    found: dict[str, str] = {}
    for name in sorted((file.stem for file in conf_dir().glob("*.yaml")), key=lambda name: (name != "train", name)):
        module = PACKAGE / name / "__main__.py"
        if module.is_file():
            text = module.read_text(encoding="utf-8")
            found[name] = (ast.get_docstring(ast.parse(text)) or name).splitlines()[0].replace("`", "")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command named by the first argument, or list all commands.

    Args:
        arguments: The command line without the program name. By default, that of this process.

    Raises:
        SystemExit: If the first argument is not a command. The exit code is 0 for a list or a version, else 2.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    known = commands()
    if words and words[0] in known:
        sys.argv[1:] = words[1:]
        runpy.run_module(f"lenet_pl.{words[0]}", run_name="__main__", alter_sys=True)
        return
    with own_streams() as stdout:
        code = _print_help_or_error(words, known)
    sys.exit(report_lost_output(code, stdout, worked=False))


def _print_help_or_error(words: Sequence[str], known: dict[str, str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print("\n".join(known.values()))
        return 0
    if words[0] == "--version":
        print(f"lenet_pl {lenet_pl.__version__}")
        return 0
    from lenet_pl.errors import did_you_mean, printable

    near = did_you_mean(words[0], known)
    if "=" in words[0]:
        near = f"settings follow a command, as in python -m lenet_pl train {printable(words[0])};"
    must = f"{near + ' ' if near else ''}must be one of {', '.join(known)}"
    print(f"error: {printable(words[0])}: no such command; {must}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
