"""A patch says which positions change by its map; a map that cannot be followed is refused, never half followed."""

from types import SimpleNamespace

import pytest
import torch

import patchclamp as pc

SITE = "blocks.1.resid_out"


@pytest.fixture(scope="session")
def model(models):
    return models["llama"]


@pytest.fixture(scope="module")
def other(model):
    return model.run([7, 8, 9, 10], record=SITE).recording


def test_a_map_moves_values_between_positions(model, other):
    patch = pc.change("patch", SITE, source=pc.Source(other, positions={1: 3}))
    found = model.run([1, 2, 3], record=SITE, interventions=[patch]).recording[SITE]
    clean = model.run([1, 2, 3], record=SITE).recording[SITE]
    assert torch.equal(found[1], other[SITE][3])
    assert torch.equal(found[[0, 2]], clean[[0, 2]])


def test_a_position_that_is_named_but_not_mapped_is_refused(model, other):
    patch = pc.change("patch", SITE, source=pc.Source(other, positions={1: 3}), at=[1, 2])
    with pytest.raises(pc.PatchclampError, match="in the source's map"):
        model.run([1, 2, 3], interventions=[patch])


def test_positions_that_are_no_map_are_refused():
    # Past the type checker of the tests, which users do not run.
    with pytest.raises(pc.PatchclampError, match="as a mapping"):
        pc.Source.__post_init__(SimpleNamespace(positions=[3, 4]))
