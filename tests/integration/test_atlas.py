"""The atlas's own laws: keys through the real router, every question answered without a 5xx, histograms that add up."""

from urllib.parse import quote

import httpx
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import patchclamp as pc
from apart import run_apart
from patchclamp.atlas import Asked
from patchclamp.atlas.bake.look import BINS
from patchclamp.atlas.bake.second_pass import _bin_of, _count_bins
from patchclamp.atlas.serve.server import guard_atlas
from patchclamp.atlas.store.counter_examples import tokens_named
from patchclamp.core.unit import UnitKey


@pytest.fixture(scope="module")
def app(seeded_atlas):
    return guard_atlas(seeded_atlas)


@pytest.fixture(scope="module")
def atlas(seeded_atlas):
    return pc.atlas.open(seeded_atlas)


def get(app, path):
    async def ask():
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as one:
            return await one.get(path)

    return run_apart(ask())


@given(block=st.integers(0, 1), index=st.integers(0, 15), place=st.sampled_from(["", "@3", "@+2"]), named=st.booleans())
def test_a_key_survives_the_router(app, block, index, place, named):
    subject = "cat/" if named else ""
    key = UnitKey.parse(f"{subject}blocks.{block}.mlp.act/neurons/{index}{place}")
    answer = get(app, f"/api/units/{key.to_url()}")
    assert answer.status_code == 200
    assert answer.json()["key"] == f"cat/{UnitKey(key.site, key.index)}"
    assert UnitKey.from_url(key.to_url()) == key


@given(st.text(max_size=40), st.text(max_size=20), st.sampled_from(["units", "runs", "graphs"]))
def test_no_address_gives_a_5xx(app, rest, value, room):
    address = f"/api/{room}/{quote(rest, safe='/')}?{quote(value)}={quote(value)}"
    assert get(app, address).status_code < 500


@given(words=st.text(max_size=30), fires_on=st.text(max_size=8), limit=st.integers(1, 9), sort=st.sampled_from(
    ["relevance", "key", "frequency", "maximum", "mean", "score", "concept"]
), falling=st.none() | st.booleans())  # fmt: skip
def test_pages_of_a_search_are_its_rows_in_order(atlas, words, fires_on, limit, sort, falling):
    asked = Asked(words=words if len(words) > 15 else "", fires_on=fires_on, sort=sort, descending=falling)
    whole = atlas.find(asked, limit=200)
    assert len(whole.rows) == whole.total
    rows, cursor = [], ""
    while True:
        page = atlas.find(asked, cursor=cursor, limit=limit)
        assert page.first == (len(rows) + 1 if page.rows else 0)
        rows += page.rows
        if page.next is None:
            break
        cursor = page.next
    assert rows == whole.rows
    numbers = (
        [r.score and r.score.value if sort == "score" else getattr(r, sort) for r in rows]
        if sort in ("frequency", "maximum", "mean", "score")
        else []
    )
    known = [n for n in numbers if n is not None]
    assert numbers[: len(known)] == known, "what has no number comes last"
    assert known == sorted(known, reverse=whole.descending)


@given(st.integers(0, 2**31), st.integers(1, 60), st.integers(1, 6))
def test_bins_hold_every_value_once(seed, n, width):
    x = torch.from_numpy(np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32))
    low, high = x.amin(0), x.amax(0)
    edges = torch.stack([low + (high - low) * k / BINS for k in range(BINS + 1)])
    edges[-1] = high
    counts = _count_bins(x, edges)
    assert counts.sum(0).tolist() == [n] * width
    assert (counts >= 0).all()
    for unit in range(width):
        found = torch.bincount(_bin_of(x, edges)[:, unit], minlength=BINS)
        assert found.tolist() == counts[:, unit].tolist()


@given(
    st.lists(st.text(st.characters(blacklist_characters='"“”', blacklist_categories=("Cs",)), min_size=1, max_size=8))
)
def test_quoted_tokens_are_found(tokens):
    said = "fires on " + ", ".join(f'"{token}"' for token in tokens)
    assert tokens_named(said) == {t.strip().casefold() for t in tokens} - {""}
