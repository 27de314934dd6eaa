"""One entry point for all commands: `lenet train ...` or `python -m lenet_pl train ...`, the same as `lenet_pl.train`.

Without a command, it lists them.
"""

import runpy
import sys
from collections.abc import Sequence

import lenet_pl
from lenet_pl.cli.completion.purposes import descriptions
from lenet_pl.runtime.startup import CONSOLE, as_typed
from lenet_pl.runtime.streams import own_streams, report_lost_output

MORE = """
lenet <command> --help shows the settings of a command, lenet completion --help how to get tab completion."""
ALIASES = {"data": "datasets"}  # `lenet_pl.data` is the package that loads datasets


def commands() -> dict[str, str]:
    """Map each command to a line with its description and an example. `train` comes first."""
    return descriptions()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command named by the first argument, or list all commands.

    Args:
        arguments: The command line without the program name. By default, that of this process.

    Raises:
        SystemExit: If the first argument is not a command. The exit code is 0 for a list or a version, else 2.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["__complete"]:
        from lenet_pl.cli.completion.shells import answer

        return answer(words[1:])
    known = commands()
    words[:1] = [ALIASES.get(word, word) for word in words[:1]]
    if words and words[0] in known:
        sys.argv[1:] = words[1:]
        runpy.run_module(f"lenet_pl.{words[0]}", run_name="__main__", alter_sys=True)
        return None
    with own_streams() as stdout:
        code = _print_help_or_error(words, known)
    sys.exit(report_lost_output(code, stdout, worked=False))


def _print_help_or_error(words: Sequence[str], known: dict[str, str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print("\n".join(map(as_typed, known.values())) + (MORE if CONSOLE else ""))
        return 0
    if words[0] == "--version":
        print(f"lenet_pl {lenet_pl.__version__}")
        return 0
    if words[0] == "completion":
        from lenet_pl.cli.completion.shells import print_script

        return print_script(words[1:])
    from lenet_pl.errors import did_you_mean, printable

    near = did_you_mean(words[0], known)
    program = "lenet" if CONSOLE else "python -m lenet_pl"
    if "=" in words[0]:
        near = f"settings follow a command, as in {program} train {printable(words[0])};"
    must = f"{near + ' ' if near else ''}must be one of {', '.join(known)}"
    print(f"error: {printable(words[0])}: no such command; {must}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
