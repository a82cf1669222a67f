"""Names of sites and units in words."""

import pytest

from patchclamp.core.plain_names import name_site, name_unit
from patchclamp.loaders import load


@pytest.mark.parametrize("name", ["mover-gpt2", "digits-cnn"])
def test_sites_of_a_model_have_names_that_differ(name):
    sites = [site.path for site in load(f"organism:{name}").sites()]
    names = [name_site(path) for path in sites]
    assert len(set(names)) == len(sites) > 10


def test_units_of_different_bases_have_different_names():
    keys = [f"blocks.1.attn.z/{basis}/3" for basis in ("neurons", "heads", "topk", "channels")]
    assert len({name_unit(key) for key in keys}) == len(keys)


def test_what_is_no_key_stays_as_it_is():
    assert name_unit("<script>") == "<script>"
