# SPDX-License-Identifier: GPL-2.0-or-later
"""The CI definitions in ci/ that users copy: their commands are those of the README, and exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from passthru.cli.app import app
from passthru.image.store import default_root
from passthru.scenario.library import names

CHECKOUT = Path(__file__).resolve().parents[3]
README = (CHECKOUT / "README.md").read_text()


def github(job: str) -> dict[str, Any]:
    """A job of the GitHub Actions definition."""
    jobs = yaml.safe_load((CHECKOUT / "ci/github-actions.yml").read_text())["jobs"]
    assert set(jobs) == {"assignment", "own-tests"}
    return dict(jobs[job])


def gitlab(job: str) -> dict[str, Any]:
    """A job of the GitLab CI definition."""
    jobs = yaml.safe_load((CHECKOUT / "ci/gitlab-ci.yml").read_text())
    assert set(jobs) == {"variables", "assignment", "own-tests"}
    return dict(jobs[job])


def commands(definition: str, job: str) -> list[str]:
    """The shell commands of a job, one by one; of a condition, those that it guards."""
    if definition == "github":
        lines = [line for step in github(job)["steps"] for line in step.get("run", "").splitlines()]
    else:
        lines = gitlab(job)["script"]
    parts = [part for line in lines for part in re.split(r"; (?:then )?|&& ", line)]
    return [part.strip() for part in parts if part.strip() != "fi" and not part.startswith("if ")]


def steps_of(job: str, action: str) -> list[dict[str, Any]]:
    """The steps of a GitHub job that use an action."""
    return [step for step in github(job)["steps"] if step.get("uses", "").startswith(f"{action}@")]


both = pytest.mark.parametrize("definition", ["github", "gitlab"])


@both
def test_our_own_job_is_the_test_command_of_the_readme(definition: str) -> None:
    block = re.search(r"```sh\n(.*?)```", README, re.DOTALL)
    assert block
    named = [line.split("#")[0].strip() for line in block[1].splitlines()]
    assert named == ["make run", "make test"]
    done = commands(definition, "own-tests")
    assert done[-1] == "make test"
    assert [command for command in done if "make" in command or "pytest" in command] == ["make test"]
    makefile = (CHECKOUT / "Makefile").read_text()
    assert re.search(r"^test: ", makefile, re.MULTILINE)
    assert (CHECKOUT / ".ci/run").read_text().splitlines()[-1] == "exec make test"


@both
def test_passthru_is_installed_as_the_readme_says(definition: str) -> None:
    assert "`pip install .`" in README
    assert [command for command in commands(definition, "assignment") if "pip" in command] == ["pip install ./passthru"]


@both
def test_every_passthru_command_is_one_and_its_options_are_in_the_readme(definition: str) -> None:
    ours = [shlex.split(command) for command in commands(definition, "assignment") if command.startswith("passthru ")]
    assert [words[1] for words in ours if words[1] == "run"] == ["run"]
    for _, *words in ours:
        parse(words)
        assert f"`passthru {words[0]}" in README or f"passthru {words[0]} " in README
        for option in (word for word in words if word.startswith("--")):
            assert option in README or option == "--days", option
        if words[0] in ("run", "fetch"):
            assert words[1] in names()
    assert ours[-1] == ["passthru", "run", "mtty", "--junit", "junit.xml", "--no-skip"]


def parse(words: list[str]) -> None:
    """Parse the words of a command line as ``passthru`` does, without doing it."""
    command: Any = typer.main.get_command(app)
    context: Any = None
    while hasattr(command, "commands"):
        name, *words = words
        context = command.make_context("passthru", [name], parent=context)
        command = command.commands[name]
    command.make_context(command.name, list(words), parent=context)


def test_a_command_line_that_is_none_would_be_noticed() -> None:
    parse(["cache", "prune", "--days", "14"])
    with pytest.raises(KeyError):
        parse(["perform", "mtty"])
    with pytest.raises(Exception, match="--no-skipping"):
        parse(["run", "mtty", "--no-skipping"])


def test_github_caches_what_passthru_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PASSTHRU_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    (restored,) = steps_of("assignment", "actions/cache/restore")
    (saved,) = steps_of("assignment", "actions/cache/save")
    (own,) = steps_of("own-tests", "actions/cache")
    for cache in (restored, own):
        assert Path(cache["with"]["path"]).expanduser() == default_root()
        key, others = cache["with"]["key"], cache["with"]["restore-keys"].splitlines()
        assert "steps.week.outputs.week" in key
        assert "hashFiles('guests/**'" in key
        assert all(key.startswith(other) and other.endswith("-") for other in others)
    steps = github("assignment")["steps"]
    assert restored["id"] == "cache"
    assert saved["with"] == {
        "path": restored["with"]["path"],
        "key": "${{ steps.cache.outputs.cache-primary-key }}",
    }
    (update,) = (step for step in steps if "fetch" in step.get("run", ""))
    (judged,) = (step for step in steps if "passthru run" in step.get("run", ""))
    assert update["if"] == saved["if"] == "steps.cache.outputs.cache-hit != 'true'"
    order = [steps.index(step) for step in (restored, update, saved, judged)]
    assert order == sorted(order)


def test_gitlab_caches_what_passthru_keeps() -> None:
    variables = yaml.safe_load((CHECKOUT / "ci/gitlab-ci.yml").read_text())["variables"]
    for job in ("assignment", "own-tests"):
        (path,) = gitlab(job)["cache"]["paths"]
        assert variables["PASSTHRU_CACHE"] == f"$CI_PROJECT_DIR/{path}"
    cache = gitlab("assignment")["cache"]
    branch = "passthru-$CI_COMMIT_REF_SLUG"
    assert (cache["key"], cache["fallback_keys"]) == (branch, ["passthru-$CI_DEFAULT_BRANCH"])
    (update,) = (line for line in gitlab("assignment")["script"] if "--update" in line)
    assert update.startswith('if [ "$CI_PIPELINE_SOURCE" = schedule ]; then')


def test_reports_and_run_directories_are_kept() -> None:
    (upload,) = steps_of("assignment", "actions/upload-artifact")
    assert upload["if"] == "failure()"
    assert upload["with"]["path"].split() == ["junit.xml", "runs"]
    artifacts = gitlab("assignment")["artifacts"]
    assert artifacts["reports"]["junit"] == "junit.xml"
    assert artifacts["paths"] == ["runs"]
    parser: Any = typer.main.get_command(app)
    (where,) = (option for option in parser.commands["run"].params if "--runs" in option.opts)
    assert where.default == Path("runs")


@both
def test_what_is_to_be_changed_is_marked(definition: str) -> None:
    name = {"github": "github-actions.yml", "gitlab": "gitlab-ci.yml"}[definition]
    text = (CHECKOUT / "ci" / name).read_text()
    for line in (line for line in text.splitlines() if "OWNER" in line):
        before = text[: text.index(line)].splitlines()[-1]
        assert "CHANGE" in line + before
