"""The promises of the project, the cases that stand for each, and a table of them made from the tests."""

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import pytest

AREAS = {
    "strangers": (26, "No file, address or run folder from a stranger runs code"),
    "resume": (20, "A run that was stopped any number of times ends as if it had not been, bit for bit"),
    "crash": (16, "Whatever happens, `last.ckpt` is the old or the new complete file, and no broken run exits with 0"),
    "data": (22, "Training starts on nothing but data whose files are what they should be"),
    "settings": (
        57,
        "What cannot work is refused in one line before step 1; non-finite values reach no weights",
    ),
    "reproducibility": (10, "The same settings on the same machine give the same bits"),
    "images": (34, "An image from a stranger is read within limits, and right; servers answer this machine only"),
    "situations": (250, "What users meet in their own work loses no result and falsifies none"),
}  # cases that an area needs at least, and what it promises

HEADER = """\
# What is promised, and the tests that hold it

Made from the tests by `make promises`, this time of those with the marks `{marks}`. A case is one input with one
outcome that can be seen; the test of the same line looks at it. Where a common case does not apply to this project, the
nearest one that does stands in its place and says so.
"""


def case(area: str, text: str, *, instead_of: str = "") -> pytest.MarkDecorator:
    """Mark a test, or one set of its parameters, as the one that holds a case.

    Args:
        area: one of AREAS.
        text: input and outcome, as in "a truncated checkpoint: one line, exit code 2".
        instead_of: case that does not apply here and why, where this one stands for it.
    """
    assert area in AREAS, f"{area} is none of {', '.join(AREAS)}"
    return pytest.mark.case(area, text, instead_of)


@dataclass
class Case:
    """What is known of one case."""

    instead_of: str
    tests: list[str] = field(default_factory=list)
    outcomes: set[str] = field(default_factory=set)

    @property
    def outcome(self) -> str:
        """The worst that happened to its tests."""
        return next((name for name in ("failed", "skipped", "passed") if name in self.outcomes), "not run")


class PromiseTable:
    """Plugin of pytest that writes the table when all tests are done.

    Args:
        path: Markdown file that is written.
        marks: expression that the tests were chosen by.
    """

    def __init__(self, path: Path, marks: str) -> None:
        self.path, self.marks = path, marks
        self.cases: dict[str, dict[str, Case]] = {area: {} for area in AREAS}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, value in report.user_properties:
            if name == "case":
                area, text, instead_of = value
                one = self.cases[area].setdefault(text, Case(instead_of))
                if report.nodeid not in one.tests:
                    one.tests.append(report.nodeid)
                if report.when == "call" or not report.passed:
                    one.outcomes.add(report.outcome)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self.path.write_text(self.text())
        if any(len(self.cases[area]) < least for area, (least, _) in AREAS.items()) and session.exitstatus == 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def text(self) -> str:
        """Markdown: figures for each area, then its cases."""
        columns = ("cases", "needed", "passed", "failed", "skipped")
        lines = [HEADER.format(marks=self.marks), f"| area | {' | '.join(columns)} |", "|:-|" + "-:|" * len(columns)]
        total: dict[str, int] = defaultdict(int)
        for area, (needed, _) in AREAS.items():
            outcomes = [one.outcome for one in self.cases[area].values()]
            figures = {"cases": len(outcomes), "needed": needed} | {name: outcomes.count(name) for name in columns[2:]}
            lines.append(f"| {area} | {' | '.join(str(figures[name]) for name in columns)} |")
            for name, figure in figures.items():
                total[name] += figure
        lines.append(f"| **all** | {' | '.join(str(total[name]) for name in columns)} |")
        for area, (_, promise) in AREAS.items():
            lines += ["", f"## {area}", "", f"{promise}.", ""]
            for number, (text, one) in enumerate(sorted(self.cases[area].items()), 1):
                tests = ", ".join(
                    f"`{test.rpartition('::')[2].partition('[')[0]}`" for test in dict.fromkeys(one.tests)
                )
                stands = f" *Instead of: {one.instead_of}.*" if one.instead_of else ""
                lines.append(f"{number}. {text}.{stands} {one.outcome}: {tests}")
        return "\n".join(lines) + "\n"
