"""Verbs are found by listing their folder: one file more is one verb more, in the help and when it is typed."""

import re
import sys
from pathlib import Path

import pytest

from patchclamp.cli import main, verbs

GREET = '''
"""Greet somebody."""

SUMMARY = "Greet somebody, as politely as need be."
QUESTION = "collect"
EXAMPLE = "patchclamp greet kindly Ada"


def add_options(parser):
    """Add the verb's arguments."""
    parser.add_argument("name")


def run(options):
    """Print a greeting."""
    print(f"good day, {options.name}")
    return 0
'''


@pytest.fixture
def greeting(tmp_path, monkeypatch):
    """One file more than there are verbs, and nothing else."""
    (tmp_path / "greet_kindly.py").write_text(GREET)
    monkeypatch.setattr(verbs, "__path__", [*verbs.__path__, str(tmp_path)])
    yield
    sys.modules.pop("patchclamp.cli.verbs.greet_kindly", None)


def test_a_file_more_is_a_verb_more(greeting, capsys):
    assert main(["greet", "kindly", "Ada"]) == 0
    assert capsys.readouterr().out == "good day, Ada\n"
    main(["--help"])
    told = capsys.readouterr().out
    section = told[told.index("\ncollect:") : told.index("\nwhy:")]
    assert "greet kindly" in section
    assert "as politely as need be" in section
    main(["greet", "kindly", "--help"])
    assert "Example: patchclamp greet kindly Ada" in capsys.readouterr().out
    assert main(["greet", "kindly", "Ada", "--nonsense"]) == 2


def test_the_help_groups_the_verbs_by_question_in_order(capsys):
    main(["--help"])
    told = capsys.readouterr().out
    headings = re.findall(r"^([a-z ]+):$", told, flags=re.MULTILINE)
    asked = [question for question in verbs.QUESTIONS if question in headings]
    assert headings == [*asked, "options"]
    listed = set(re.findall(r"^  ([a-z]+(?: [a-z]+)?)(?:  |$)", told, flags=re.MULTILINE))
    assert listed == set(verbs.list_verbs())


def test_every_verb_is_a_file_with_the_same_five_parts():
    folder = Path(verbs.__file__).parent
    files = {path.stem.replace("_", " ") for path in folder.glob("*.py")} - {"  init  "}
    found = verbs.list_verbs()
    assert set(found) == files
    for name, module in found.items():
        assert module.QUESTION in verbs.QUESTIONS
        assert module.EXAMPLE.startswith(f"patchclamp {name}")
        assert module.SUMMARY.endswith((".", "?"))
        assert callable(module.add_options)
        assert callable(module.run)
