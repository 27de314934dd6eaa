"""Error lines for invalid settings, generated from every setting and checked against rules."""

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import annotated_types
import pytest
from commands import KINDS, NEEDED
from conftest import Run
from promise import case

from lenet_pl.config_files.groups import choices_of, groups_of
from lenet_pl.errors import SettingError
from lenet_pl.settings import Settings, setting_keys, validate
from lenet_pl.settings.compose import compose, conf_dir, known_keys
from lenet_pl.settings.roles import groups_in

# Terms of libraries, Python and classes, which mean nothing to a user who wrote key=value
FOREIGN = re.compile(
    r"(?i:omegaconf|pydantic|(?<![.'])hydra(?![./]|-help))|Settings\b|Traceback|Error\b|NoneType|\bNone\b|\bTrue\b|\bFalse\b|"
    r"input_value|model_type|should be|Interpolation|struct|defaults list|ValidationInfo|<class|full_key|nullable|"
    r"discriminator|Input |For further information|validator|constrained|function-after|extract tag"
)
WRONG: list[Any] = ["abc", "", 1e30, None, True, [], [1, 2, 3], {"a": 1}, float("nan"), "~nobodyhere/x"]
COMMAND_LINES = {  # errors that the settings classes cannot detect
    "train": (
        *("lr=1", "lenet_bn", "model lenet_bn", "--model=x", "seed=0,1", "seed=1 seed=2", "seed==1", "model=lenet6"),
        *("run=null", "optimizer.lr=${x}", "run=${oc.env:NOTHING}", "run=a(b", "~seed", "~model=lenet6", "=3", "foo"),
        *("+seed=1", "+model=lenet5", "+nokey=1", "loader={nokey:1}", "optimizer.lr.x=1", "experiment=a,b", "a=b=c"),
        *("hydra.job.chdir=true", "hydra.mode=RUN", "hydra.nokey=1", "hydra/launcher=joblib", "hydra.searchpath=x"),
        *("hydra/launcher=nonsense", "hydra.output_subdir=..", "--run=x", "--cfg=x", "--resolve", "--nonsense"),
        *("data=folder", "data=null", "optimizer=3", "model=glob(x*)", "hydra.verbose=[a", "hydra.job.num=x", "model="),
        *("data.path=/x", "data=folder data.path=", "hydra.searchpath=[file:///nowhere]", "run=~/x", "model@x=y"),
        *("-m foo", "~experiment=x"),
    ),
    "predict": ("run=x", "images=a b.png", "a.png", "images=null", "image=x", "model=lenet5", "hydra.run.dir=x"),
    "evaluate": ("runs/a", "data=nonsense", "data.path=x", "batch_size=3", "run=[]", "checkpoint=x", "ckpt_path="),
    "compare": ("runs/a runs/b", "output_dir=null", "filter={", "by=x", "max_rows=0", "max_curves=x"),
    "search": ("search=nonsense", "n_trials=1", "search.space=null", "search.metric=test/accuracy", "run=null"),
    "diagnose": ("max_steps=0", "time_budget=0", "budget=3", "run=[a,b]", "num_threads=0", "seed=1"),
    "demo": ("port=-1", "host=", "run=[a,3]", "share=true"),
    "benchmark": ("parts=[nonsense]", "datasets=[folder]", "num_threads=0", "output_dir=null", "model=x"),
    "datasets": ("action=x", "names=[x]", "mirror=x", "data=mnist"),
    "inspect": ("data=nonsense", "folds=1", "network=lenet6", "near_duplicates=2", "output_dir=null", "model=x"),
    "lab": ("port=-1", "host=", "max_running=0", "datasets=[folder]", "output_dir=null", "model=x"),
    "explain": ("methods=[nonsense]", "indices=[-1]", "images=a.png indices=[1]", "num_images=61"),
    "export": ("formats=[tflite]", "opset=17", "formats=[onnx,onnx]", "atol=0"),
}


def choices_taken(annotation: Any) -> set[Any]:
    """List the values of the Literals in an annotation."""
    if get_origin(annotation) is Literal:
        return set(get_args(annotation))
    return {value for part in get_args(annotation) for value in choices_taken(part)}


def bounds(annotation: Any) -> set[float]:
    """List values just outside the ranges of an annotation."""
    found: set[float] = set()
    for part in get_args(annotation) if get_origin(annotation) is not Literal else ():
        found |= bounds(part)
        for mark in getattr(part, "metadata", (part,)):
            found |= {mark.gt} if isinstance(mark, annotated_types.Gt) else set()
            found |= {mark.lt} if isinstance(mark, annotated_types.Lt) else set()
            found |= {mark.ge - 1} if isinstance(mark, annotated_types.Ge) else set()
            found |= {mark.le + 1} if isinstance(mark, annotated_types.Le) else set()
    return found


def composed(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the settings of a command under each choice of the config groups whose choices differ in their keys."""
    needed = [
        *NEEDED.get(name, ()),
        *{"compare": [], "benchmark": ["output_dir=x"], "inspect": ["output_dir=x"], "datasets": [], "lab": []}.get(
            name, ["run=x"]
        ),
    ]
    yield "", compose(name, KINDS[name], needed).model_dump()
    for group in ("data", "optimizer", "scheduler", "model") if name in ("train", "evaluate") else ():
        for choice in choices_of(conf_dir() / group) if group in groups_of(name) else ():
            own = ["data.path=x"] if choice in ("folder", "arrays") else []
            own += ["loss.name=mle"] if choice == "lenet5_1998" else []
            yield f"{group}.", compose(name, KINDS[name], [*needed, f"{group}={choice}", *own]).model_dump()


def fields(kind: type[Settings], values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, list[Any]]]:
    """Yield every setting with its annotation and metadata; the current values determine the class of a group."""
    for name, field in kind.model_fields.items():
        yield f"{prefix}{name}", field.annotation, field.metadata
        if isinstance(inner := values[name], dict):
            for branch in groups_in(field.annotation, *field.metadata):
                if inner.keys() == branch.model_fields.keys():
                    yield from fields(branch, inner, f"{prefix}{name}.")
                    break


def changed(values: dict[str, Any], key: str, value: Any, *, name: str = "") -> dict[str, Any]:
    """Copy nested values with one replaced, or with an additional misspelled one."""
    values = copy.deepcopy(values)
    here = values
    *groups, last = key.split(".")
    for group in groups:
        here = here[group]
    here[name or last] = value
    return values


def lines_of(name: str) -> Iterator[tuple[str, str]]:
    """Yield an invalid override and its error line for every setting of a command."""
    seen: set[str] = set()
    for prefix, values in composed(name):
        for key, annotation, marks in fields(KINDS[name], values):
            if not key.startswith(prefix) or (name == "search" and not key.startswith(("search", "run"))):
                continue  # the training settings are checked once, with `train`
            outside = bounds(Annotated[annotation, *marks]) if marks else bounds(annotation)
            outside |= {mark.ge - 1 for mark in marks if isinstance(mark, annotated_types.Ge)}
            misspelt = {f"{choice[:-1]}q" for choice in choices_taken(annotation) if isinstance(choice, str)}
            for value in [*WRONG, *sorted(outside), *sorted(misspelt)]:
                try:
                    validate(KINDS[name], changed(values, key, value))
                except SettingError as error:
                    if (asked := f"{key}={value}") not in seen:
                        seen.add(asked)
                        yield asked, str(error)
            typo = f"{key.rpartition('.')[2]}x"
            try:
                validate(KINDS[name], changed(values, key, 1, name=typo))
            except SettingError as error:
                if f"{key}x=1" not in seen:
                    seen.add(f"{key}x=1")
                    yield f"{key}x=1", str(error)


def faults(asked: str, line: str, known: set[str]) -> list[str]:
    """List the rules that an error line breaks.

    Args:
        asked: The override, key=value.
        line: The error line.
        known: All setting keys.
    """
    key = asked.partition("=")[0]
    found = []
    if "\n" in line or not line.isprintable():
        found.append("is not one line")
    begins, _, rest = line.partition(": ")
    if not f"{begins}.".startswith(f"{key}.") and not f"{key}.".startswith(f"{begins}.") and key not in rest:
        found.append("does not begin with the key")
    if not re.search(r": (got |unknown setting|no value|\w+ has )|needs|needs odd", line):
        found.append("does not name what came")
    if not re.search(
        r"must (be|have|name) |(use|choose|set only) |required|did you mean|see --help|write |needs|give one|"
        r"leave it out",
        line,
    ):
        found.append("does not name what must be")
    if foreign := FOREIGN.search(line.replace(repr(asked.partition("=")[2]), "")):
        found.append(f"says {foreign[0]!r}")
    if len(line) > 400:
        found.append("is long")
    named = re.findall(r"did you mean ([\w.]+)\?", line) if "unknown setting" in line else []
    found += [f"recommends {one}, which there is not" for one in named if one not in known]
    return found


@pytest.mark.parametrize("name", KINDS)
@case(
    "situations",
    "any setting of any command with an invalid type, value, range or name: one error line that follows the same rules",
)
def test_every_wrong_setting_is_refused_by_a_line_that_says_what_is_meant(name: str) -> None:
    known = {key for _, values in composed(name) for key in setting_keys(values)}
    lines = list(lines_of(name))
    assert {asked.partition("=")[0] for asked, _ in lines} >= set(known_keys(name)) or name == "search"
    broken = [(asked, line, wrong) for asked, line in lines if (wrong := faults(asked, line, known))]
    assert broken == []


@pytest.mark.parametrize(("name", "words"), [(name, words) for name, lines in COMMAND_LINES.items() for words in lines])
def test_every_wrong_command_line_is_refused_by_such_a_line(name: str, words: str, run: Run) -> None:
    begun: list[object] = []
    code, lines = run(*words.split(), command=name, work=lambda *given: begun.append(given))
    assert (code, len(lines), begun) == (2, 1, [])
    line = lines[0].removeprefix("error: ")
    assert not FOREIGN.search(line.replace("--hydra-help", ""))
    assert re.match(r"[~+=\-'\w./@]+( \S+)*: ", line)
    assert "unexpected" not in line
    assert [path for path in Path().rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("lr: got 0; must be greater than 0", "does not begin with the key"),
        ("optimizer.lr: is wrong; must be greater than 0", "does not name what came"),
        ("optimizer.lr: got 0", "does not name what must be"),
        ("optimizer.lr: got None; must be a number", "says 'None'"),
        ("optimizer.lr: got 0; must be AdamSettings", "says 'Settings'"),
        ("optimizer.lr: got 0;\naccepted is greater than 0", "is not one line"),
        ("optimizer.lr: unknown setting; did you mean optimizer.lrr?", "recommends optimizer.lrr, which there is not"),
    ],
)
def test_the_rules_find_what_breaks_them(line: str, fault: str) -> None:
    assert fault in faults("optimizer.lr=0", line, {"optimizer.lr"})
