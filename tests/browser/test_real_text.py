"""A trained model over plain text, without labels or descriptions: nothing on its pages is empty."""

import re

import pytest
from tests.browser.conftest import served, windows

import patchclamp as pc

EMPTY = re.compile(r"(^|[^0-9.,])0\s?%|not described|not defined|—")


@pytest.fixture
def folder(stories, shared, tmp_path):
    text = tmp_path / "shakespeare.txt"
    text.write_text((shared / "data" / "text" / "tinyshakespeare.txt").read_text()[:14_000])
    pc.atlas.bake_atlas(pc.load(str(stories)), text, tmp_path / "stories.atlas", name=str(stories))
    return tmp_path / "stories.atlas"


def test_nothing_is_empty(folder, chromium):
    atlas = pc.atlas.open(folder)
    reading, page = atlas.reading, atlas.page()
    assert page.title == "stories260K"
    assert {site.basis for site in page.sites} == {"neurons", "heads"}
    lines = [reading.line(unit) for unit in range(reading.n_units)]
    assert all(line.strongest is not None for line in lines)
    assert sum(line.detects is not None for line in lines) > len(lines) / 2
    assert all(reading.label(unit) for unit in range(reading.n_units))
    assert len(page.begin) == 6
    # The suggestions are not one and the same.
    assert len({one.row.concept for one in page.begin}) == 6
    with served(str(folder)) as address, windows(chromium, address) as open_one:
        reader = open_one()
        for path in ("/", "/units", f"/units/{page.begin[0].row.key}", "/units?q=the", "/units?site=blocks.1.attn.z"):
            reader.visit(path)
            assert not EMPTY.findall(reader.page.locator("main").inner_text()), path
            columns = reader.page.locator("table.units, table.sites").evaluate_all(
                "all => all.flatMap(t => [...t.tHead.rows[0].cells].map((_, i) =>"
                " [...t.tBodies[0].rows].map(r => r.cells[i].innerText.trim())))"
            )
            assert all(any(cells) for cells in columns), path
        assert reader.page.locator("[data-testid=unit] .peak").count() == reader.page.get_by_test_id("unit").count()
