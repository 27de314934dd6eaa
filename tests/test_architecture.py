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
# The map of the package: a module imports only modules of floors above in this list, or of its own folder.
FLOORS = (
    "errors",  # errors that a user can cause
    "batch",  # Batch(images, labels), the contract between data and task
    "runtime",  # process and machine: files, signals, memory, seeds, threads, SLURM
    "display",  # text for the terminal, files and figures
    "plugins",  # registry of the parts of a training, and code from outside that adds to it
    "config_files",  # configuration files: ours and the user's, their groups, choices and keys
    "settings",  # conf/ and the command line as validated settings
    "cli",  # from arguments to an exit code; sweep jobs
    "image_io",  # image files, opened within limits
    "data",  # files to arrays to batches
    "models",  # networks
    "photo",  # photos preprocessed to look like the training images
    "optim",  # losses, optimizers, schedulers, EMA, gradient clipping
    "engine",  # the LightningModule, the Trainer, callbacks, checkpoints
    "inference",  # trained networks loaded from run folders; ensembles, test-time augmentation
    "attribution",  # feature maps and attributions
    "artifacts",  # output of a run: results, metrics, plots, report
    "web",  # a page on this machine, and the pictures on it
    "train",  # from here on: one command each
    "inspect",
    "diagnose",
    "datasets",
    "evaluate",
    "predict",
    "explain",
    "export",
    "compare",
    "search",
    "demo",
    "lab",
    "benchmark",
    "__main__",  # dispatches to all commands
)
COMMANDS = FLOORS[FLOORS.index("train") : -1]
TRAIN_ON_THE_SPOT = {"search", "demo", "lab", "benchmark", "diagnose"}


def floor(module: str) -> str:
    """Return the floor of a module."""
    return module.split(".")[1] if "." in module else ""


def imports(module: str, *, at_import_time: bool = False) -> set[str]:
    """List the imports of a module: at import time only, or also in function bodies."""
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


def test_every_module_is_on_a_floor() -> None:
    assert {floor(module) for module in MODULES if module != "lenet_pl"} == set(FLOORS)


@pytest.mark.parametrize("module", [module for module in MODULES if module != "lenet_pl"])
def test_imports_only_go_down(module: str) -> None:
    above = FLOORS[FLOORS.index(floor(module)) + 1 :]
    assert not {other for other in own(module) if floor(other) in above}


@pytest.mark.parametrize("module", [m for m in MODULES if floor(m) in ("data", "models", "photo")])
def test_data_photos_and_networks_do_not_know_each_other(module: str) -> None:
    others = {"data", "models", "photo"} - {floor(module)}
    assert not {other for other in own(module) if floor(other) in others}


@pytest.mark.parametrize("module", [m for m in MODULES if floor(m) in COMMANDS])
def test_commands_do_not_know_each_other_but_some_train(module: str) -> None:
    known = {floor(other) for other in own(module)} & set(COMMANDS) - {floor(module)}
    assert known <= ({"train"} if floor(module) in TRAIN_ON_THE_SPOT else set())


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_a_folder_with_a_main_module(command: str) -> None:
    assert f'run_command("{command}"' in MODULES[f"lenet_pl.{command}.__main__"].read_text()


def test_the_root_has_few_modules() -> None:
    assert len([module for module, path in MODULES.items() if path.parent == ROOT]) <= 5


@pytest.mark.parametrize(
    "module",
    ["lenet_pl.settings", "lenet_pl.errors", "lenet_pl.cli.command"]
    + [name for command in COMMANDS for name in (f"lenet_pl.{command}", f"lenet_pl.{command}.__main__")],
)
def test_what_answers_mistakes_imports_nothing_heavy(module: str) -> None:
    seen: set[str] = set()
    todo = {module}
    while todo:
        name = todo.pop()
        seen.add(name)
        todo |= (imports(name, at_import_time=True) if name in MODULES else set()) - seen
    assert not {name.split(".")[0] for name in seen} & HEAVY


def lines(module: str) -> int:
    return len(MODULES[module].read_text().splitlines())


@pytest.mark.parametrize("module", MODULES)
def test_no_module_is_long(module: str) -> None:
    assert lines(module) <= 250


def test_most_modules_are_short() -> None:
    assert sum(lines(module) <= 200 for module in MODULES) >= 0.95 * len(MODULES)


def test_no_two_files_of_tests_have_one_name() -> None:
    names = [path.name for path in Path(__file__).parent.rglob("*.py")]  # pytest imports them by these alone
    assert sorted(names) == sorted(set(names))


def test_names_say_what_is_inside() -> None:
    names = {part for module in MODULES for part in module.split(".")}
    assert not names & {"utils", "util", "helpers", "common", "misc", "base", "extras"}


def uses(module: str) -> set[str]:
    """List the full names that a module imports, and the last names that it calls."""
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
        (
            ("rich.console", "rich.get_console", "rich.print"),
            {"display.console"},
        ),  # rich would parse every string as markup
        (("rich.markup", ".from_markup"), set()),
        # matplotlib would parse dollars as math
        (("matplotlib.figure", "matplotlib.pyplot"), {"display.figure", "search.plots"}),
        ((".savefig",), {"display.figure", "search.plots"}),
        (
            ("csv.writer", "csv.DictWriter"),
            {"display.text", "engine.metrics_history"},
        ),  # engine.metrics_history writes numbers only
        (("html.escape",), {"display.text"}),
        # Allowed for keys and equality, and for files that users do not read
        (
            ("json.dumps",),
            {"display.text", "compare.setting_values", "settings.config_file", "search.parse_space"}
            | {
                "runtime.folder_lock",
                "data.image_digests",
                "data.data_record",
                "data.split_digests",
                "cli.resume_overrides",
            },
        ),
    ],
)
def test_text_of_the_user_has_one_way_out(forbidden: tuple[str, ...], allowed: set[str]) -> None:
    found = {module.removeprefix("lenet_pl.") for module in MODULES if uses(module) & set(forbidden)}
    assert found <= allowed


@pytest.mark.parametrize("command", ["demo", "lab"])
def test_the_page_makes_no_html_of_text(command: str) -> None:
    script = "".join(path.read_text() for path in (ROOT / command / "page").glob("*.js"))
    assert script
    assert not [name for name in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write") if name in script]
