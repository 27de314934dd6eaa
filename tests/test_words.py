"""The words of the field in place of paraphrases, in every text that a user reads."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WRITTEN_BY_TESTS = {ROOT / "docs" / "promises.md"}
# Modules whose subject is the names that other programs and earlier versions use
OTHER_NAMES = {ROOT / f"lenet_pl/settings/{name}.py" for name in ("synonyms", "training_synonyms", "old_names")}
# Functions of SciPy, a file name, and an attribute that databases of studies hold
ALLOWED = re.compile(r"ndimage\.grey_\w+|\"licence\"|\"begun with\"")
# Texts to which the list applies: documentation, and code with its help, comments and messages
ROOTS: dict[str, list[Path]] = {
    "README and changelog": [ROOT / "README.md", ROOT / "CHANGELOG.md"],
    "docs": sorted(
        path
        for path in (ROOT / "docs").rglob("*.*")
        if path.suffix in (".md", ".py") and not {"_build", "generated"} & set(path.relative_to(ROOT).parts)
    ),
    "lenet_pl": sorted(
        path
        for path in (ROOT / "lenet_pl").rglob("*.*")
        if path.suffix in (".py", ".js", ".html", ".css") and path not in OTHER_NAMES
    ),
    "conf": sorted((ROOT / "conf").rglob("*.yaml")),
}
# A paraphrase, as a regular expression, and what a reader of torch's and Lightning's documentation expects.
WORDS = {
    r"accepted (is|are)": "must be",
    r"refused by": "an error that names",
    r"\bverbs?\b": "command",
    r"\bstretch(es)?\b": "chunk",
    r"\b(several|both|one|with|all|18|nine) views?\b": "TTA copies",
    r"\bmirrored views?\b": "TTA",
    r"average of the weights": "EMA of the weights",
    r"\bbegun\b": "started",
    r"signs? of life": "heartbeat",
    r"\b(goes|go|went|gone) on\b": "continue, resume",
    r"\bbeside\b": "next to, with, in addition to",
    r"\bwhence\b": "from where",
    r"\banew\b": "again",
    r"\bborne\b": "allowed",
    r"as if alone": "independently",
    r"\bstrangers?\b": "untrusted input",
    r"\btaken for\b": "predicted as",
    r"what watches": "callbacks",
    r"(put )?back into the queue": "requeue",
    r"(made|makes?) small\b": "minimize",
    r"\bspeaks? (for|against)\b": "support, contradict",
    r"\bno finite numbers?\b": "not finite",
    r"\bis no (image|distance|number|run|checkpoint)\b": "is not a",
    r"\bholds? no (run|image)": "contains no",
    r"\b(test|training|validation) parts?\b": "split",
    r"± sd\b": "± std",
    r"\bis (told|asked|heard)\b": "is called, is passed",
    r"\bin place of\b": "instead of",
    r"what (can|may) be meant in two ways": "ambiguous",
    r"random parameters of its own": "independent random parameters",
    r"whole or not at all": "atomically",
    r"\bpatiently?\b": "retries",
    r"\bdata[ _-]sets?\b|data_set": "dataset",
    # American spelling, as in torch's and Lightning's names
    r"\b(colour|grey|centre|behaviour|licence|normalis|summaris|vectorise(?!`)|optimis(?!ti)|regularis)": (
        "American spelling"
    ),
}


def found_in(text: str) -> list[str]:
    """List the words of a text that are on the list, each with its line and what to write."""
    lines = enumerate(text.splitlines(), 1)
    return [
        f"line {number}: {hit[0]!r}: write {better}"
        for number, line in lines
        for words, better in WORDS.items()
        if (hit := re.search(words, ALLOWED.sub("", line), re.IGNORECASE))
    ]


@pytest.mark.parametrize("root", ROOTS)
def test_no_paraphrase_is_left(root: str) -> None:
    files = [path for path in ROOTS[root] if path not in WRITTEN_BY_TESTS]
    assert files
    assert {str(path.relative_to(ROOT)): found for path in files if (found := found_in(path.read_text("utf-8")))} == {}


@pytest.mark.parametrize("pattern", ["*.md", "docs/**/*.*", "notebooks/*", "tests/**/*.py", "lenet_pl/**/*.py"])
def test_dataset_is_one_word(pattern: str) -> None:
    two_words = re.compile(r"(?<![a-zA-Z])[Dd]ata([ _-]s|S)ets?(?![a-z])")
    other = OTHER_NAMES | {Path(__file__), ROOT / "tests" / "settings" / "test_renamed.py"}
    files = [path for path in ROOT.glob(pattern) if path not in other and path.suffix in (".md", ".py", ".ipynb")]
    assert files
    texts = {path.relative_to(ROOT): path.read_text("utf-8") for path in files}
    assert {str(path) for path, text in texts.items() if two_words.search(f"{path}\n{text}")} == set()


def test_the_list_finds_what_it_names() -> None:
    text = "accepted is 1 or 2\nit goes on\nthe test part\ngrey\nData sets\na dataset, datasets"
    assert [line.partition(":")[0] for line in found_in(text)] == ["line 1", "line 2", "line 3", "line 4", "line 5"]
