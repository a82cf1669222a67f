"""One public function makes a dictionary by any card of the room, of a recording or of a model that reads a text."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

import patchclamp as pc
from patchclamp.core.dictionary import Dictionary
from patchclamp.core.method_files import find_method
from patchclamp.core.options import option
from patchclamp.evaluate.rows import turn_basis
from patchclamp.organisms import superposition

QUICK = {"n_features": 6, "k": 2, "coder_batch": 100}


@dataclass(frozen=True)
class Axes:
    site: str = option("", "where")


@pytest.fixture(scope="module")
def rows():
    return superposition.make(n_rows=400).recording


def test_it_makes_what_the_card_makes_and_keeps_it(rows, tmp_path):
    made = pc.decompose(rows, method="topk", out=tmp_path / "d", **QUICK)
    alone = find_method("topk", "decompose")(recording=rows, **QUICK)
    assert made.bases["x"].hash == alone.hash
    assert (alone.site, alone.provenance.method) == ("x", "decompose/topk")
    kept = pc.decompose(rows, method="topk", out=tmp_path / "d", resume=True, **QUICK)
    assert kept.bases["x"].hash == Dictionary.load(tmp_path / "d").bases["x"].hash == made.bases["x"].hash


def test_a_method_of_one_s_own_serves_without_the_options_of_the_others(rows):
    def first_axes(recording: pc.Recording, options: Axes) -> pc.Basis:
        width = recording[options.site].shape[1]
        return pc.Basis("axes", "directions", decoder=np.eye(width, dtype=np.float32)[:3], site=options.site)

    card = replace(find_method("pca", "decompose"), run=first_axes, name="first_axes", quick={}, options_at={})
    assert pc.decompose(rows, method=card, site="x").curves["x"]["l0"][0][1] == 3


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"method": "pca", "resume": True}, "resume with a folder"),
        ({"method": "pca", "transcode": "0"}, "transcode with a language model"),
        ({"method": "topk", "site": "nowhere", **QUICK}, "a site of this recording"),
        ({"method": "topk", "skip_connection": True, **QUICK}, "--skip-connection with"),
        ({"method": "topk", "expansion": 2.0, **QUICK}, "n_features or expansion"),
        ({"corpus": "text.txt", "method": "pca"}, "a subject with a corpus, or a recording"),
    ],
)
def test_what_does_not_go_together_is_refused(rows, given, words):
    inputs = {} if "corpus" in given else {"recording": rows}
    with pytest.raises(pc.PatchclampError, match=words):
        pc.decompose(**inputs, **given)


def test_a_turned_basis_keeps_its_angles_and_reads_what_it_writes(rows):
    basis = pc.decompose(rows, method="pca", n_features=5).bases["x"]
    turned = turn_basis(basis, np.random.default_rng(0))
    np.testing.assert_allclose(turned.decoder @ turned.decoder.T, basis.decoder @ basis.decoder.T, atol=1e-5)
    np.testing.assert_array_equal(turned.encoder, turned.decoder)
    assert np.abs(turned.decoder - basis.decoder).max() > 0.1
