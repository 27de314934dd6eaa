"""Tab completion for bash, zsh and fish: the script that a user sources, and the answer to each press of Tab.

The scripts call `lenet __complete <shell> ...`, which prints a candidate per line, with a tab before its meaning. In
bash and zsh a finished candidate ends with a space.
"""

import contextlib
import os
import re
import sys
from collections.abc import Sequence
from importlib import resources

from lenet_pl.cli.completion.candidates import SHELLS, candidates, with_meanings
from lenet_pl.errors import did_you_mean, printable

LONGEST = 70  # characters of a meaning
HELP = """lenet completion bash|zsh|fish
Print the tab completion for a shell. To have it in every new shell, run once:

  bash: echo 'source <(lenet completion bash)' >> ~/.bashrc
  zsh:  echo 'source <(lenet completion zsh)' >> ~/.zshrc
  fish: lenet completion fish > ~/.config/fish/completions/lenet.fish
"""


def print_script(words: Sequence[str]) -> int:
    """Print the script for a shell, and return the exit code.

    Args:
        words: The words after `lenet completion`.
    """
    if words and words[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    if len(words) == 1 and words[0] in SHELLS:
        script = resources.files("lenet_pl.cli.completion") / "scripts" / f"lenet.{words[0]}"
        print(script.read_text(encoding="utf-8"), end="")
        return 0
    near = did_you_mean(words[0], SHELLS) if len(words) == 1 else ""
    got = printable(" ".join(words)) or "no shell"
    print(f"error: completion: got {got}; {near + ' ' if near else ''}must be bash, zsh or fish", file=sys.stderr)
    return 2


def answer(words: Sequence[str]) -> None:
    """Print the candidates for one press of Tab. Print nothing if anything goes wrong.

    Args:
        words: The shell; for bash then the line up to the cursor and the characters that end a word, for zsh and fish
            the unquoted words up to the cursor.
    """
    with contextlib.suppress(Exception), open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123
        with contextlib.redirect_stderr(nowhere):
            lines = _for_bash(*words[1:3]) if words[0] == "bash" else _described(*words)
        print("\n".join(lines))


def _described(shell: str, *words: str) -> list[str]:
    found = with_meanings(words, candidates(words))
    space = " " if shell == "zsh" else ""
    return [f"{one.text}{space if one.finished else ''}\t{_short(one.meaning)}" for one in found]


def _short(meaning: str) -> str:
    return meaning if len(meaning) <= LONGEST else f"{meaning[: LONGEST - 1].rstrip()}…"


def _for_bash(line: str, breaks: str) -> list[str]:
    """Complete a line for bash, which replaces only what follows the last break character."""
    words, quote = split(line)
    current = words[-1]
    kept = (
        0
        if quote
        else max(current.rfind(sign) for sign in "=:" if sign in breaks) + 1
        if set("=:") & set(breaks)
        else 0
    )
    texts = [(one.text[kept:], one.finished) for one in candidates(words[1:])]
    if quote:
        return [text for text, _ in texts]  # bash closes the quotation itself
    return [f"{escape(text)}{' ' if finished else ''}" for text, finished in texts]


def escape(text: str) -> str:
    """Escape a word for bash."""
    return re.sub(r"[^\w@%+=:,./~\-\[\]]", r"\\\g<0>", text)


def split(line: str) -> tuple[list[str], str]:
    """Split an unfinished command line as bash does.

    Returns:
        The words after the last `;`, `|` or `&`, unquoted, and the quotation mark that is still open. The last word may
        be empty.
    """
    words, current, quote, started = [], "", "", False
    signs = iter(line)
    for sign in signs:
        if quote:
            if sign == quote:
                quote = ""
            elif sign == "\\" and quote == '"':
                current += next(signs, "")
            else:
                current += sign
        elif sign in "'\"":
            quote, started = sign, True
        elif sign == "\\":
            current, started = current + next(signs, ""), True
        elif sign.isspace() or sign in ";|&":
            if started:
                words.append(current)
            current, started = "", False
            words = [] if sign in ";|&" else words
        else:
            current, started = current + sign, True
    return [*words, current], quote
