"""Nouns as people see them where a cell of a notebook ends: one line, a table, a DataFrame, a plot."""

import math

import matplotlib
import numpy as np
import pytest

import patchclamp as pc
from patchclamp.core.basis import Basis
from patchclamp.core.keys import Block, UnitIndex
from patchclamp.core.table import Table, Tabular

matplotlib.use("Agg")
SITE = "blocks.0.mlp.act"
HOSTILE = "<script>alert(1)</script>\x1b[31m"


@pytest.fixture(scope="module")
def cat():
    return pc.load("organism:cat")


def make_scores():
    return pc.Scores(UnitIndex([Block(SITE, "neurons", 4)]), np.array([0.5, -2.0, 3.0, 0.0]))


def make_nouns(cat):
    run = cat.run("the old cat", record=SITE)
    basis = Basis("pair", "directions", np.eye(2, 4), activation="identity")
    score = pc.Estimate(0.4, pc.Interval(0.3, 0.5, 0.95, "percentile bootstrap"), 20, "Pearson r")
    return {
        "model": cat,
        "run": run,
        "recording": run.recording,
        "scores": make_scores(),
        "task": pc.Task.of("the old cat", " sat", contrast=" ran"),
        "dictionary": pc.Dictionary({SITE: basis}, {"slug": "cat", "hash": ""}, "by hand"),
        "edit": pc.Edit({"w": np.ones((2, 2))}, "a", "Paris is in Italy"),
        "similarity": pc.Similarity(("a", "b"), score),
        "readout": pc.Readout(
            np.ones((2, 1)), np.zeros(2), np.zeros(1), ("a", "s"), ("b", "t"), names=("x",), scores=(score,)
        ),
        "training": pc.Training(3, 3, 3, {"loss": ((1, 2.0), (3, 0.5))}),
        "brain": pc.NeuralRecording(np.arange(12.0).reshape(1, 6, 2), rate=10.0),
    }


def test_every_noun_is_one_line_and_a_table(cat):
    for name, noun in make_nouns(cat).items():
        line, table = repr(noun), noun.table(3)
        assert "\n" not in line, name
        assert len(line) < 200, name
        assert line.startswith(type(noun).__name__), name
        assert 0 < len(table.rows) <= 3, name
        assert {len(row) for row in table.rows} == {len(table.columns)}, name
        assert "<table>" in noun._repr_html_(), name
        assert len(noun._repr_html_()) < 8000, name
        assert len(noun.to_pandas()) == max(noun.table().total, len(noun.table().rows)), name


def test_an_explanation_is_its_verdict_and_its_causes(cat):
    found = pc.explain(cat, "the old cat", " sat", contrast=" ran", top=5)
    assert found.sentence in repr(found)
    assert found.sentence in found._repr_html_().replace("&#x27;", "'")
    frame = found.to_pandas()
    assert frame["key"].tolist() == [cause.key for cause in found.causes]
    assert frame["measured"].tolist() == [cause.measured for cause in found.causes]
    assert repr(found.receipts.receipt) == f"Receipt: {found.receipts.receipt.sentence}"
    assert len(repr(found.graph())) < 200


def test_a_data_frame_holds_the_numbers():
    frame = make_scores().to_pandas()
    assert frame["score"].tolist() == [3.0, 0.5, 0.0, -2.0]
    assert frame["key"].tolist()[0] == f"{SITE}/neurons/2"
    assert frame["unit"].tolist()[0] == "Block 0 · MLP neuron 2"


def test_a_plot_has_a_bar_for_each_score_and_hatching_below_zero():
    bars = make_scores().plot().patches
    assert [bar.get_width() for bar in bars] == [3.0, 0.5, 0.0, -2.0]
    assert [bool(bar.get_hatch()) for bar in bars] == [False, False, False, True]


def test_bars_of_units_are_ordered_and_titles_are_short():
    class Named(Tabular):
        def table(self, top=None):
            rows = (("a", 1.0), ("b", 3.0), ("c", -2.0), ("d", math.nan))
            columns = (self.label, "score")
            return Table("what it is, in short; and much more " * 9, columns, rows, 4, columns)

    drawn = {}
    for Named.label in ("unit", "layer"):
        axes = Named().plot()
        drawn[Named.label] = [text.get_text() for text in axes.get_yticklabels()]
        assert axes.get_title() == "what it is, in short"
    assert drawn == {"unit": ["b", "a", "c", "d"], "layer": ["a", "b", "c", "d"]}


def test_a_plot_draws_the_interval(cat):
    axes = make_nouns(cat)["similarity"].plot()
    [[low, high]] = [segment[:, 0] for segment in axes.collections[0].get_segments()]
    assert (low, high) == pytest.approx((0.3, 0.5))


def test_what_has_no_numbers_says_so(cat):
    with pytest.raises(pc.PatchclampError, match="numbers to draw"):
        cat.plot()


@pytest.mark.parametrize("axes", [0, "x", [], object()])
def test_what_is_no_axes_is_refused(axes):
    with pytest.raises(pc.PatchclampError, match="axes of matplotlib"):
        make_scores().plot(axes)


def test_a_dollar_sign_begins_no_formula(tmp_path):
    class Named(Tabular):
        def table(self, top=None):
            return Table("of $\\frac{ $x_", ("name", "value"), (("a $\\frac{ $b", 1.0),), drawn=("name", "value"))

    Named().plot().figure.savefig(tmp_path / "drawn.png")
    assert (tmp_path / "drawn.png").stat().st_size


def test_hostile_text_stays_text():
    html = Table(HOSTILE, (HOSTILE,), ((HOSTILE,),)).to_html()
    assert "<script" not in html
    assert "\x1b" not in html
    assert html.count("&lt;script&gt;") == 3


def test_a_table_says_how_many_rows_are_left():
    assert "and 1 more" in make_scores().table(3).to_html()


def test_a_key_stands_for_site_basis_unit_and_place(cat):
    prompt = "the old cat"
    written = pc.change("set", "cat/blocks.0.mlp.act/neurons/7@3", value=0)
    apart = pc.change("set", SITE, 7, value=0, at=3)
    one, other = (cat.run(prompt, interventions=[change]).logits for change in (written, apart))
    assert (one == other).all()
    assert written.subject == "cat"
    with pytest.raises(pc.PatchclampError, match="a key alone"):
        pc.change("set", f"{SITE}/neurons/7", 7, value=0)


def test_a_generation_is_one_line(cat):
    [made] = cat.generate("the old", max_new_tokens=2)
    assert repr(made) == "Generation(' cat sat', 2 tokens after a prompt of 3)"
