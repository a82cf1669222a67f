"""Every method keeps the conformance suite; the index and the pages made from it are what the cards say."""

import importlib
import os
from pathlib import Path

import pytest

from patchclamp.calibrate.conformance import check_method
from patchclamp.core.method_files import load_all, write_index
from patchclamp.core.method_index import FILE, methods
from patchclamp.core.method_page import write_pages
from patchclamp.core.rooms import FOLDERS

PAGES = Path(__file__).resolve().parents[2] / "docs" / "methods"
QUICK = {
    "control/rank_one": {"n_prefixes": 2, "steps": 20},
    "compare/rsa": {"n_null": 99, "n_bootstrap": 100},
    "evaluate/insertion_deletion": {"n_random": 19},
    "evaluate/token_effect": {"n_random": 19, "n_units": 8},
    "learn/hlop": {"passes": 1},
    "decode/ridge": {"n_null": 19, "alphas": (0.1, 10.0, 1000.0)},
}
"""Options that make the checks quick."""
CARDS = {f"{card.room}/{card.name}": card for kind in FOLDERS for card in methods(kind=kind)}


def serve_rules(request) -> dict[str, object]:
    """Return options that name a server whose model answers by rules."""
    return {"base_url": request.getfixturevalue("language_model").address, "llm": "rule", "examples": 3}


OUTSIDE = {"describe/llm": serve_rules}
"""What methods need that is no part of the package: options that name it."""


@pytest.mark.parametrize("name", CARDS)
def test_a_method_keeps_the_conformance_suite(name: str, request):
    module, _, function = CARDS[name].data["oracle"].partition(":")
    oracle = getattr(importlib.import_module(module), function)
    outside = OUTSIDE[name](request) if CARDS[name].data["outside"] else {}
    checks = check_method(CARDS[name].load(), oracle=oracle, organisms=False, **QUICK.get(name, {}), **outside)
    assert [f"{check.name}: {check.reason}" for check in checks if not check.passed] == []
    assert len(checks) >= 7


def test_a_method_of_one_s_own_would_get_the_tier_that_is_stored_of_the_same():
    rsa = CARDS["compare/rsa"]
    module, _, function = rsa.data["oracle"].partition(":")
    oracle = getattr(importlib.import_module(module), function)
    found = check_method(rsa.load(), oracle=oracle, n_null=19, n_bootstrap=100)
    assert (found.tier, len(found.rows)) == (rsa.tier, 2)
    wrong = check_method(rsa.load(), oracle=lambda first, second, options: [0.0], organisms=False, n_null=19)
    assert wrong.tier.experimental
    assert "away from its oracle" in wrong.tier.reason


def test_the_index_is_what_the_cards_say():
    if os.environ.get("PATCHCLAMP_REWRITE"):
        FILE.write_text(write_index(), encoding="utf-8")
    assert FILE.read_text(encoding="utf-8") == write_index(), "PATCHCLAMP_REWRITE=1 pytest tests/conformance"


def test_the_pages_are_what_the_cards_say():
    pages = write_pages(PAGES, load_all())
    if os.environ.get("PATCHCLAMP_REWRITE"):
        PAGES.mkdir(exist_ok=True)
        for path, text in pages.items():
            path.write_text(text, encoding="utf-8")
    assert {path.name for path in PAGES.glob("*.md")} == {path.name for path in pages}
    for path, text in pages.items():
        assert path.read_text(encoding="utf-8") == text, "PATCHCLAMP_REWRITE=1 pytest tests/conformance"


@pytest.mark.parametrize("name", CARDS)
def test_a_method_is_one_small_file(name: str):
    path = FILE.parents[1] / CARDS[name].data["file"]
    code = [line for line in Path(path).read_text().splitlines() if line.strip() and not line.strip().startswith("#")]
    assert len(code) <= 300, f"{path.name} has {len(code)} lines: make it a folder"
