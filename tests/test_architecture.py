import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import lenet_pl

ROOT = Path(lenet_pl.__file__).parent
MODULES = {
    ".".join(p.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"): p for p in ROOT.rglob("*.py")
}
HEAVY = {"torch", "torchvision", "lightning", "torchmetrics", "numpy", "matplotlib", "sklearn", "PIL"}
VERBS = {name for name, path in MODULES.items() if "run_command(" in path.read_text() and name != "lenet_pl.command"}
TOP = {
    "lenet_pl.build",
    "lenet_pl.trainer",
    "lenet_pl.artefacts",
    "lenet_pl.run_pictures",
    "lenet_pl.callbacks",
    "lenet_pl.trained",
    "lenet_pl.ensemble",
} | VERBS
FOLDERS = tuple(f"lenet_pl.{name}." for name in ("benchmark", "explanation", "demo", "seeds"))
TOP |= {name for name in MODULES if name.startswith(FOLDERS)}


def part(module: str) -> str:
    """`data`, `model` or `task` for the three parts that are kept apart; otherwise empty."""
    name = module.split(".")[1] if "." in module else ""
    return name if name in ("data", "model", "task") else ""


def imports(module: str, *, at_import_time: bool = False) -> set[str]:
    """List what a module imports; only what importing it runs, or function bodies too."""
    found: set[str] = set()
    todo: list[ast.AST] = [ast.parse(MODULES[module].read_text())]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {n for n in names if n in MODULES} or {str(node.module)}
        elif not (at_import_time and isinstance(node, ast.FunctionDef)):
            todo += ast.iter_child_nodes(node)
    return found


def own(module: str) -> set[str]:
    return {name for name in imports(module) if name in MODULES}


def test_imports_make_no_circle() -> None:
    assert len(list(TopologicalSorter({name: own(name) for name in MODULES}).static_order())) == len(MODULES)


def test_train_is_a_verb() -> None:
    assert "lenet_pl.train" in VERBS


@pytest.mark.parametrize("name", ["batch", "errors"])
def test_the_foundation_imports_nothing_of_the_package(name: str) -> None:
    assert own(f"lenet_pl.{name}") == set()


@pytest.mark.parametrize("module", [m for m in MODULES if part(m)])
def test_data_model_and_task_import_neither_each_other_nor_what_is_above(module: str) -> None:
    for other in own(module):
        assert part(other) in ("", part(module))
        assert other not in TOP


@pytest.mark.parametrize("module", [m for m in MODULES if m not in TOP])
def test_only_the_top_knows_the_parts(module: str) -> None:
    if not part(module):
        assert not {other for other in own(module) if part(other)}
    assert not own(module) & TOP


@pytest.mark.parametrize("module", MODULES)
def test_nobody_imports_a_verb_but_those_that_train_on_the_spot(module: str) -> None:
    trains = (
        "lenet_pl.benchmark.worker",
        "lenet_pl.benchmark.time_to_accuracy",
        "lenet_pl.benchmark.gpu_equality",
        "lenet_pl.demo.__main__",
        "lenet_pl.search",
    )
    assert not own(module) & VERBS - ({"lenet_pl.train"} if module in trains else set())


@pytest.mark.parametrize("module", ["lenet_pl.settings", "lenet_pl.errors", "lenet_pl.command", *sorted(VERBS)])
def test_what_answers_mistakes_imports_nothing_heavy(module: str) -> None:
    seen: set[str] = set()
    todo = {module}
    while todo:
        name = todo.pop()
        seen.add(name)
        todo |= (imports(name, at_import_time=True) if name in MODULES else set()) - seen
    assert not {name.split(".")[0] for name in seen} & HEAVY


@pytest.mark.parametrize("module", MODULES)
def test_no_module_is_long(module: str) -> None:
    assert len(MODULES[module].read_text().splitlines()) <= 260


def test_names_say_what_is_inside() -> None:
    names = {part for module in MODULES for part in module.split(".")}
    assert not names & {"utils", "util", "helpers", "common", "misc", "base", "extras"}


def uses(module: str) -> set[str]:
    """List the names that a module imports, in full, and what it calls, by its last name."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
            found |= {f".{node.func.attr}", f"{owner}.{node.func.attr}"}
    return found


@pytest.mark.parametrize(
    ("forbidden", "allowed"),
    [
        (("rich.console", "rich.get_console", "rich.print"), {"console"}),  # each string would be markup
        (("rich.markup", ".from_markup"), set()),
        (("matplotlib.figure", "matplotlib.pyplot"), {"figure", "study.pictures"}),  # dollars would be mathematics
        ((".savefig",), {"figure", "study.pictures"}),
        (("csv.writer", "csv.DictWriter"), {"text", "callbacks"}),  # callbacks writes figures only
        (("html.escape",), {"text"}),
        # For keys and equality, and for files that are no user's to read
        (
            ("json.dumps",),
            {"text", "comparison.setting_values", "settings.recorded", "study.space"}
            | {"ownership", "data.content", "data.identity", "recorded_words"},
        ),
    ],
)
def test_text_of_the_user_has_one_way_out(forbidden: tuple[str, ...], allowed: set[str]) -> None:
    found = {module.removeprefix("lenet_pl.") for module in MODULES if uses(module) & set(forbidden)}
    assert found <= allowed


def test_the_page_makes_no_html_of_text() -> None:
    script = (ROOT / "demo" / "page" / "page.js").read_text()
    assert not [name for name in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write") if name in script]
