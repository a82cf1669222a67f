"""The stored calibration is of the present cards, oracles and organisms, and one row of each comes out as stored."""

import math
from dataclasses import replace
from functools import wraps
from pathlib import Path

import numpy as np
import pytest

from patchclamp.calibrate.hashes import hash_method, hash_organisms
from patchclamp.calibrate.measures.estimate import shuffle
from patchclamp.calibrate.runner import calibrate_method, run_row
from patchclamp.calibrate.trials import list_places
from patchclamp.core.errors import PatchclampError
from patchclamp.core.method_index import methods
from patchclamp.core.options import to_json
from patchclamp.core.rooms import FOLDERS
from patchclamp.core.tier import Tier, derive_tier, find_tier, read_calibration

TESTS = Path(__file__).resolve().parents[1]
CARDS = {
    f"{card.room}/{card.name}": card
    for kind in FOLDERS
    for card in methods(kind=kind)
    if not card.data["outside"]  # of which nothing can be stored
}
STALE = "the stored calibration is of another {}: run `make calibrate` and commit calibration.json with the pages"
NEAR = 0.01
"""Largest difference from a stored figure of which no interval is known."""


def test_every_card_is_calibrated_and_nothing_else_is():
    assert set(read_calibration()) == set(CARDS), STALE.format("list of cards")


@pytest.mark.parametrize("name", CARDS)
def test_what_is_stored_is_not_stale(name: str):
    method, entry = CARDS[name].load(), read_calibration()[name]
    for what, found in hash_method(method, TESTS).items():
        assert entry["hashes"][what] == found, STALE.format(what)
    assert entry["organisms"] == hash_organisms(method), STALE.format("organism")
    assert entry["options_at"] == CARDS[name].data["options_at"], STALE.format("choice of options")
    assert [(row["place"], row["claim"]) for row in entry["rows"]] == list_places(method), STALE.format(
        "list of places"
    )


@pytest.mark.parametrize("name", CARDS)
def test_one_row_comes_out_as_stored(name: str):
    method, entry = CARDS[name].load(), read_calibration()[name]
    # A rival that finds nothing anywhere has rows of what it must miss alone.
    shown = [row for row in entry["rows"] if row["claim"] == "show"] or entry["rows"]
    stored = min(shown, key=lambda row: row["seconds"])
    found = run_row(method, stored["place"], stored["claim"], seed=stored["seed"])
    assert found["held"] == stored["held"]
    for new, old in zip(found["figures"], stored["figures"], strict=True):
        assert new["name"] == old["name"], STALE.format("figure")
        for part in ("own", "random", "oracle"):
            assert is_near(new[part], old[part]), f"{new['name']}, {part}: {STALE.format('figure')}"


def is_near(new: list | None, old: list | None) -> bool:
    """Return whether a figure lies within a quarter of the stored interval: sampled text may differ by a draw."""
    if new is None or old is None:
        return new == old
    (value, *_), (stored, low, high, _) = new, old
    return abs(value - stored) <= max(NEAR, 0 if low is None else (high - low) / 4)


def test_a_figure_is_near_within_its_interval():
    assert is_near([0.5, 0.4, 0.6, 9], [0.54, 0.4, 0.6, 9])
    assert not is_near([0.5, 0.4, 0.6, 9], [0.56, 0.4, 0.6, 9])
    assert not is_near([0.5, None, None, 9], [0.52, None, None, 9])
    assert is_near(None, None)
    assert not is_near(None, [0.5, None, None, 9])


SPOIL = {
    "Scores": lambda noun, draw: shuffle(noun, 0),
    "Descriptions": lambda noun, draw: shuffle(noun, 0),
    "Readout": lambda noun, draw: replace(
        noun, scores=tuple(replace(one, value=0.0) for one in noun.scores), summary=replace(noun.summary, value=0.0)
    ),
    "Similarity": lambda noun, draw: replace(noun, estimate=replace(noun.estimate, value=0.0, interval=None)),
    "Basis": lambda noun, draw: replace(noun, decoder=_like(noun.decoder, draw)),
    "Edit": lambda noun, draw: noun.random_like(0),
    "Estimate": lambda noun, draw: replace(noun, value=noun.null.low, interval=None),
}
"""Noun given → the same from a method that found nothing."""


def _like(decoder: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    noise = draw.standard_normal(decoder.shape)
    return (noise / np.linalg.norm(noise, axis=1, keepdims=True)).astype(decoder.dtype)


@pytest.mark.parametrize("noun", SPOIL)
def test_a_method_that_finds_nothing_would_be_experimental(noun: str):
    calibrated = [name for name, card in CARDS.items() if card.data["gives"] == noun and not card.tier.experimental]
    name = calibrated[0]
    method, entry = CARDS[name].load(), read_calibration()[name]

    @wraps(method.run)
    def spoiled(**given):
        return SPOIL[method.gives](method.run(**given), np.random.default_rng(0))

    quickest = min((row for row in entry["rows"] if row["claim"] == "show"), key=lambda row: row["seconds"])
    row = run_row(replace(method, run=spoiled), quickest["place"], "show")
    assert not row["held"]
    assert derive_tier({**entry, "rows": [row]}).experimental


@pytest.mark.parametrize("name", CARDS)
def test_a_default_is_not_experimental(name: str):
    assert not (CARDS[name].data["default_for"] and CARDS[name].tier.experimental), CARDS[name].tier.reason


def test_options_that_a_card_states_for_places_are_its_own():
    for card in CARDS.values():
        for given in card.data["options_at"].values():
            made = to_json(card.load().make_options(given))
            assert {name: made[name] for name in given} == given


def _entry(**changes) -> dict:
    row = {"place": "cat", "claim": "show", "held": True}
    return {
        "oracle": {"apart": 1e-7},
        "rows": [row, row | {"claim": "miss", "place": "dog"}],
        "published": [],
    } | changes


def test_a_tier_is_experimental_for_each_thing_that_is_lacking():
    assert derive_tier(_entry()).name == "calibrated"
    rows = _entry()["rows"]
    lacking = {
        "not compared with an oracle": _entry(oracle={"apart": None}),
        "away from its oracle": _entry(oracle={"apart": 0.1}),
        "nan of the largest": _entry(oracle={"apart": math.nan}),
        "no organism": _entry(rows=[]),
        "does not show what it must on cat": _entry(rows=[rows[0] | {"held": False}, rows[1]]),
        "shows what it must miss on dog": _entry(rows=[rows[0], rows[1] | {"held": False}]),
    }
    for words, entry in lacking.items():
        assert derive_tier(entry).experimental
        assert words in derive_tier(entry).reason


def test_the_reason_of_a_failed_claim_has_its_figures():
    figures = [{"name": "planted above others", "own": [0.99721, None, None, 1]}, {"name": "unmeasured", "own": None}]
    rows = _entry()["rows"]
    reason = derive_tier(_entry(rows=[rows[0], rows[1] | {"held": False, "figures": figures}])).reason
    assert reason == "it shows what it must miss on dog (planted above others 0.997)"


def test_a_card_that_names_what_there_is_not_is_refused_before_work(tmp_path):
    rsa = CARDS["compare/rsa"].load()
    for changes in (
        {"reproduced": ("figures/none.json",)},
        {"sources": ("compare/none.py",)},
        {"oracle": "oracles.a:b"},
    ):
        with pytest.raises(PatchclampError):
            calibrate_method(replace(rsa, **changes), TESTS)
    (tmp_path / "figure.json").write_text('{"figure": "mean r"}')
    with pytest.raises(PatchclampError, match="lacks some of these"):
        calibrate_method(replace(rsa, reproduced=("figure.json",)), tmp_path / "tests")


def test_a_published_figure_that_comes_out_makes_a_method_reproduced():
    one = {"figure": "mean r", "data": "some texts", "published": 0.9, "found": 0.91, "tolerance": 0.02, "script": "x"}
    assert derive_tier(_entry(published=[one])).name == "reproduced"
    assert derive_tier(_entry(published=[one, one | {"found": 0.5}])).name == "calibrated"
    assert find_tier("attribute/nothing_of_the_kind").experimental
    assert find_tier("attribute/relp", "a server") == Tier(
        "experimental", "it needs a server, and is only as good as that"
    )
