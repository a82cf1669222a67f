"""Home shows what `patchclamp atlas info` prints, and is light."""

import json
import subprocess
import sys


def test_counts_are_those_of_the_command_line(reader, seeded_atlas):
    done = subprocess.run(
        [sys.executable, "-m", "patchclamp", "atlas", "info", str(seeded_atlas), "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    printed = json.loads(done.stdout)
    reader.visit("/")
    names = ("n_units", "n_described", "n_scored", "n_silent", "n_examples", "bytes")
    shown = {name: int(reader.all(f"[data-testid={name}]", "data-value")[0]) for name in names}
    assert shown == {name: printed[name] for name in names}
    assert reader.page.locator("[data-testid=sites] tbody tr").count() == len(printed["sites"])
    assert printed["baked"] in reader.page.locator("[data-testid=command]").first.inner_text()


def test_first_visit_is_light(reader):
    reader.visit("/")
    assert reader.page.locator("[data-testid=begin] li").count() > 0
    assert 0 < reader.received < 80_000


def test_a_site_leads_to_its_units(reader, api):
    site = api("/atlas")["sites"][0]
    reader.visit("/")
    reader.page.locator("[data-testid=sites] tbody a").first.click()
    reader.settle()
    assert reader.address == f"/units?site={site['site']}"
    assert reader.all("[data-testid=shown]", "data-total") == [str(site["units"])]
