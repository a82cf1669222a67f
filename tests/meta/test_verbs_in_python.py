"""Every verb of the command line is one public function of the same name in Python."""

import pytest

import patchclamp
from patchclamp.cli.verbs import list_verbs

OTHERWISE = {
    "atlas add": "atlas.add_basis",
    "atlas bake": "atlas.bake_atlas",
    "atlas export": "atlas.export_atlas",
    "atlas info": "atlas.open",
    "atlas serve": "atlas.serve_atlas",
    "circuit find": "find_circuit",
    "info": "load",
    "organism": "load",
    "steer apply": "continue_steered",
    "steer fit": "steer",
}
"""Verbs that are called otherwise in Python: two words joined, and what shows something that Python's objects show."""


@pytest.mark.parametrize("verb", list_verbs())
def test_a_verb_is_a_public_function(verb: str):
    thing = patchclamp
    for part in OTHERWISE.get(verb, verb).split("."):
        assert part in getattr(thing, "__all__", dir(thing)), f"{verb} has no public function {part}"
        thing = getattr(thing, part)
    assert callable(thing)


def test_no_verb_is_called_otherwise_without_need():
    assert set(OTHERWISE) <= set(list_verbs())
    assert [verb for verb, name in OTHERWISE.items() if verb == name] == []
