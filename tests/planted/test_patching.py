"""Activation patching finds the planted units, and no other, where each of them is needed."""

import numpy as np
import pytest

import patchclamp as pc
from patchclamp import organisms
from patchclamp.attribute.patching import patch_sites

SERIES = ("copy", "induction", "mover", "neuron", "facts", "broadcast")
"""Circuits whose every unit is needed, so that taking one away is seen."""


def moved(name: str, direction: str, least: float = 0.1) -> set[str]:
    model = pc.load(f"organism:{name}")
    found = patch_sites(model, model.read(pc.open_task("planted", model)), ["neuron", "head"], direction=direction)
    return {str(found.key(place)) for place in np.flatnonzero(np.abs(found.values) > least)}


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
@pytest.mark.parametrize("circuit", SERIES)
def test_noise_finds_exactly_the_planted_units(circuit, architecture):
    name = f"{circuit}-{architecture}"
    assert moved(name, "noise") == set(organisms.card(name)["true"])


@pytest.mark.parametrize("circuit", ["copy", "neuron", "facts", "induction"])
def test_denoise_finds_the_same_where_units_stand_in_series(circuit):
    name = f"{circuit}-gpt2"
    assert moved(name, "denoise") == set(organisms.card(name)["true"])


def test_where_two_units_are_summed_each_carries_half():
    model = pc.load("organism:backup-gpt2")
    pairs = model.read(pc.open_task("planted", model))
    found = patch_sites(model, pairs, "head", positions=["-1"])
    shares = {str(key): round(found.score(key), 2) for key in found.top(2, signed=False)}
    assert shares == {"blocks.0.attn.z/heads/0@-1": 0.5, "blocks.0.attn.z/heads/2@-1": 0.5}


def test_a_decoy_that_only_fires_is_not_found():
    card = organisms.card("decoy-gpt2")
    assert not {decoy["unit"] for decoy in card["decoys"]} & moved("decoy-gpt2", "denoise")


def test_the_cat_needs_its_one_neuron_either_way():
    for direction in ("denoise", "noise"):
        assert moved("cat", direction) == {"blocks.0.mlp.act/neurons/7@3"}
