"""The texts of the page: English, or a translation."""

import json
import re
from pathlib import Path

from lenet_pl.errors import SettingError, display_path

FOLDER = Path(__file__).parent / "page"
TEXTS = FOLDER / "texts.json"


def read_texts(translation: str | None = None) -> dict[str, str]:
    """Read the texts of the page.

    Args:
        translation: A JSON file with the keys of `page/texts.json`; null for English. `lang` is the code of the
            language, `dir` is `ltr` or `rtl`. Words in braces are filled in by the page.

    Raises:
        SettingError: The file cannot be read, lacks a text, has another one, or fills in something else.
    """
    texts: dict[str, str] = json.loads(TEXTS.read_text("utf-8"))
    if translation is None:
        return texts
    where = f"page.texts: {display_path(Path(translation))}"
    try:
        found = json.loads(Path(translation).read_text("utf-8"))
    except OSError as error:
        raise SettingError(f"{where}: {error.strerror}; must be a JSON file") from None
    except ValueError as error:
        raise SettingError(f"{where}: not JSON ({' '.join(str(error).split())[:100]})") from None
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise SettingError(f"{where}: must be one object of keys and texts, like {TEXTS.name} of lenet_pl")
    if odd := sorted(texts.keys() ^ found.keys()):
        state = "is missing" if odd[0] in texts else "is unknown"
        raise SettingError(f"{where}: {odd[0]} {state}; must have the keys of {TEXTS}")
    if found["dir"] not in ("ltr", "rtl"):
        raise SettingError(f"{where}: dir: got {found['dir']!r}; must be ltr or rtl")
    for key, text in texts.items():
        wanted, given = _filled_in(text), _filled_in(found[key])
        if odd_names := sorted(given - wanted):
            choices = ", ".join(f"{{{name}}}" for name in sorted(wanted)) or "nothing in braces"
            raise SettingError(f"{where}: {key}: got {{{odd_names[0]}}}; must be {choices}")
    return found


def _filled_in(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))
