"""The command line, asked in process."""

import json

import pytest

from patchclamp.cli import main

STORY = "the old cat sat on the mat.\nthe dog ran to the park.\n" * 30


@pytest.fixture
def story(tmp_path):
    path = tmp_path / "story.txt"
    path.write_text(STORY)
    return path


@pytest.fixture
def say(capsys):
    """Run a command; return its exit code, its JSON document (or its output) and what stood on standard error."""

    def run(*words, json_too=True):
        code = main([*map(str, words), *(["--json"] if json_too else [])])
        out, err = capsys.readouterr()
        return code, json.loads(out) if json_too else out, err

    return run
