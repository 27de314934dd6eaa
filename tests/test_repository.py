"""Files of the repository that other programs read: workflows, issue forms, citation, make targets."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import lenet_pl

ROOT = Path(__file__).resolve().parents[1]
SCHEMAS = {
    ".github/workflows/*.yml": "github-workflows",
    ".github/ISSUE_TEMPLATE/*.yml": "github-issue-forms",
    "CITATION.cff": "citation-file-format",
}


@pytest.mark.parametrize("pattern", SCHEMAS)
def test_files_follow_their_published_schema(pattern: str) -> None:
    pytest.importorskip("check_jsonschema")
    files = [str(path) for path in ROOT.glob(pattern)]
    assert files
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{SCHEMAS[pattern]}", *files]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_workflows_run_what_exists() -> None:
    workflows = [yaml.safe_load(path.read_text()) for path in (ROOT / ".github/workflows").iterdir()]
    steps = [step for workflow in workflows for job in workflow["jobs"].values() for step in job["steps"]]
    scripts = [script for step in steps for script in re.findall(r"bash (\S+)", step.get("run", ""))]
    assert scripts == [".ci/run"]
    assert (ROOT / scripts[0]).is_file()


def test_the_citation_has_the_version_of_the_package() -> None:
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == lenet_pl.__version__


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "SECURITY.md"])
def test_make_targets_and_links_of_the_pages_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    targets = re.findall(r"`make (\w+)", text)
    known = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(targets) <= set(known)
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert (ROOT / link).exists(), link
