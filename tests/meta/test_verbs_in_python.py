"""Every verb of the command line is one public function in Python: of the same name, or as its file's FUNCTION says."""

import pytest

import patchclamp
from patchclamp.cli.verbs import list_verbs

VERBS = list_verbs()


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_is_a_public_function(verb: str):
    thing = patchclamp
    name = getattr(VERBS[verb], "FUNCTION", verb)
    for part in name.split("."):
        assert part in getattr(thing, "__all__", dir(thing)), f"{verb} has no public function {name}: state FUNCTION"
        thing = getattr(thing, part)
    assert callable(thing)


def test_no_verb_is_called_otherwise_without_need():
    assert [verb for verb, module in VERBS.items() if getattr(module, "FUNCTION", "") == verb] == []
