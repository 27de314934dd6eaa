"""List, fetch and verify published datasets: `python -m lenet_pl.datasets fetch mnist`."""

from collections.abc import Sequence
from pathlib import Path

from lenet_pl.cli.completion.candidates import OPTIONS_WITH_VALUES
from lenet_pl.settings.datasets import DatasetsSettings


def with_words(arguments: Sequence[str]) -> list[str]:
    """Write plain words of the command line as settings: the first is the action, the others name datasets.

    Example:
        >>> with_words(["fetch", "mnist", "fashion", "data_root=sets"])
        ['action=fetch', 'names=[mnist,fashion]', 'data_root=sets']
    """
    words: list[str] = []
    rest: list[str] = []
    for before, one in zip(["", *arguments], arguments, strict=False):
        plain = one[:1].isalnum() and "=" not in one and before not in OPTIONS_WITH_VALUES
        (words if plain else rest).append(one)
    found = [f"action={words[0]}"] if words else []
    return [*found, *([f"names=[{','.join(words[1:])}]"] if words[1:] else []), *rest]


def datasets(settings: DatasetsSettings) -> None:
    """List, fetch, verify, pack or unpack the files of published datasets.

    Args:
        settings: The validated settings.

    Raises:
        UserError: Something that was asked for was not done, such as a download that failed from all addresses.
    """
    from lenet_pl.data.stored_files import published_datasets
    from lenet_pl.datasets.actions import fetch, list_files, pack_files, unpack_files, verify

    root = Path(settings.data_root)
    known = published_datasets()
    chosen = {name: known[name] for name in settings.names or known}
    if settings.action == "list":
        list_files(chosen, root)
    elif settings.action == "fetch":
        fetch(chosen, root, settings.mirror)
    elif settings.action == "verify":
        verify(chosen, root, required=bool(settings.names))
    elif settings.action == "pack":
        pack_files(chosen, root, settings.archive, required=bool(settings.names))
    else:
        unpack_files(chosen if settings.names else {}, root, settings.archive)
