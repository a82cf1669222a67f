"""The documentation is true: it names every command and flag, and its examples run."""

import argparse
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs_blocks import RUN, run_page, runnable_blocks
from patchclamp.cli import build_parser
from patchclamp.core.method_index import methods

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
CLI_PAGE = ROOT / "docs" / "reference" / "cli.md"
CLI_GUIDE = ROOT / "docs" / "reference" / "cli_guide.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
QUICK = [page for page in PAGES if page.parent.name != "tutorial"]
"""Tutorials bake and train: tests/integration runs them."""
MORE_PAGES = [ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md"]


def parsers(parser: argparse.ArgumentParser, command: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield (command, parser) for the parser itself and everything below it."""
    yield command, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                yield from parsers(child, f"{command} {name}".strip())


def long_flags(parser: argparse.ArgumentParser) -> set[str]:
    return {flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")}


COMMANDS = dict(parsers(build_parser()))


@pytest.mark.parametrize("command", [command for command in COMMANDS if command])
def test_command_is_documented(command: str):
    rewrite = "PATCHCLAMP_REWRITE=1 pytest tests/meta/test_reference.py"
    assert f"patchclamp {command}" in CLI_PAGE.read_text(), rewrite


def test_documented_flags_exist():
    known = {flag for parser in COMMANDS.values() for flag in long_flags(parser)}
    # Options of methods come with --method.
    known |= {f"--{entry['name'].replace('_', '-')}" for card in methods() for entry in card.data["options"]}
    assert set(re.findall(r"(?<![\w-])--[a-z][\w-]*", CLI_GUIDE.read_text())) <= known


def test_runnable_blocks_are_found():
    page = f"text\n{RUN}\n```python\na = 1\n\nb = 2\n```\n```python\nc = 3\n```\n"
    assert runnable_blocks(page) == [(3, "python", "a = 1\n\nb = 2")]


@pytest.mark.parametrize("page", QUICK, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    run_page(page)


def headings(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def dead_links(page: Path) -> list[str]:
    """Return the links of a page to files or headings that are not there."""
    dead = []
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"", page.read_text()):
        path, _, anchor = (link[0] or link[1]).partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in headings(target)):
            dead.append(link[0] or link[1])
    return dead


def test_a_dead_link_is_found(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("# Is it true?\n[a](page.md#is-it-true) [b](#no) [c](none.md) [d](https://example.org/x)\n")
    assert dead_links(page) == ["#no", "none.md"]


@pytest.mark.parametrize("page", [*PAGES, *MORE_PAGES], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_link_is_dead(page: Path):
    assert dead_links(page) == []


def test_pages_that_messages_and_comments_name_exist():
    places = [README, *MORE_PAGES, *(path for name in ("src", "benchmarks") for path in (ROOT / name).rglob("*.py"))]
    named = {page for path in places for page in re.findall(r"(?<![\w/])docs/[\w/]+\.md", path.read_text())}
    assert {page for page in named if not (ROOT / page).is_file()} == set()


def test_the_floors_of_the_architecture_are_those_that_are_checked():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    [layers] = [contract["layers"] for contract in project["contracts"] if contract["type"] == "layers"]
    page = (ROOT / "docs" / "architecture.md").read_text()
    drawn = page.partition("## Floors")[2].partition("```\n")[2].partition("```")[0].splitlines()
    assert [set(re.findall(r"\w+", line.partition("  ")[0])) for line in drawn] == [
        set(re.findall(r"\w+", layer)) for layer in layers
    ]


def test_the_readme_is_short():
    assert len(README.read_text().split()) <= 700


def test_make_targets_in_readme_exist():
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"(?:^|`|\$ |&& )make ([a-z][\w-]*)", README.read_text(), flags=re.MULTILINE))
    assert named <= targets
