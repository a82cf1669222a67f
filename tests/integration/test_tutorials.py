"""The tutorials run from their first line to their last."""

from pathlib import Path

import pytest

from docs_blocks import run_page, runnable_blocks

TUTORIALS = sorted((Path(__file__).resolve().parents[2] / "docs" / "tutorial").glob("*.md"))


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    run_page(page)


def test_there_are_three_with_commands_and_python():
    assert len(TUTORIALS) == 3
    for page in TUTORIALS:
        assert {language for _, language, _ in runnable_blocks(page.read_text())} == {"sh", "python"}
        assert "```sh" not in page.read_text().replace("<!-- run -->\n```sh", ""), "a block of commands that is not run"
