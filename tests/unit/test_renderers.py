"""Every result that can be drawn has one renderer, found by listing the folder, and its page shows its numbers."""

import ast
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import patchclamp as pc
from patchclamp import report
from patchclamp.core.descriptions import Descriptions
from patchclamp.core.keys import Block, UnitIndex
from patchclamp.core.provenance import Provenance
from patchclamp.core.readout import Readout
from patchclamp.core.similarity import Similarity
from patchclamp.core.stats import Interval
from patchclamp.report.html import number

FOLDER = Path(report.__file__).parent
PARTS = {"__init__", "bars", "html", "parquet", "picture", "plots", "size_curve", "svg"}
"""Files that draw no noun by themselves."""
HOSTILE = "<script>alert('x')</script>\x00"


def estimate(value, low, high):
    def between(low, high):
        return Interval(low, high, 0.95, "by hand")

    return pc.Estimate(value, between(low, high), 20, "Pearson r", between(-0.125, 0.125), 0.0625, 0.875)


def scores(per_case=None, **given):
    index = UnitIndex([Block("blocks.0.mlp.act", "neurons", 3)])
    values = np.array([0.25, -2.5, 1.75]) if per_case is None else per_case.mean(0)
    made = Provenance("toy", "abc", "attribute/relp", options={"steps": 7})
    return pc.Scores(index, values, per_case=per_case, metric_clean=4.5, provenance=made, **given)


def descriptions(**given):
    index = UnitIndex([Block("blocks.0.mlp.act", "neurons", 2)])
    return Descriptions(index, np.array([[1, 0], [0, -1]]), np.array([[0.75, 0.25], [0.875, 0.0]]), (HOSTILE, " cat"),
                        author="vocabulary/1", **given)  # fmt: skip


def readout(**given):
    scored = (estimate(0.25, 0.125, 0.375), estimate(0.5, 0.4375, 0.5625))
    return Readout(np.ones((3, 2)), np.zeros(3), np.zeros(2), ("gpt", "blocks.1.out"), ("brain", "roi"), scores=scored,
                   summary=estimate(0.375, 0.3125, 0.4375), **{"names": ("a", "b"), **given})  # fmt: skip


class Page(HTMLParser):
    """The rows of a page's table, each as the texts of its cells, and its elements."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.elements, self.inside = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.inside.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        while self.inside and self.inside.pop() != tag:
            pass

    def handle_data(self, data):
        if self.inside and ("td" in self.inside or "th" in self.inside) and "svg" not in self.inside:
            self.rows[-1][-1] += data


NOUNS = {
    "scores": scores(),
    "scores over cases": scores(np.array([[1.0, -2.0, 0.5], [1.5, -3.0, 0.25], [0.5, -2.5, 0.75]])),
    "readout": readout(names=("left", HOSTILE)),
    "readout without names": readout(),
    "similarity": Similarity(
        (HOSTILE, "brain"), estimate(0.5, 0.25, 0.75), rivals={"pixels": estimate(0.125, 0, 0.25)}
    ),
    "one estimate": Similarity(("one", "two"), pc.Estimate(float("nan"), None, 0, "Pearson r")),
    "descriptions": descriptions(measures={"cosine": np.array([0.5, np.nan])}),
    "descriptions without measures": descriptions(),
}


@pytest.mark.parametrize("name", NOUNS)
def test_every_page_stands_alone(name):
    text = report.draw(NOUNS[name], command=f"patchclamp attribute {HOSTILE}")
    page = Page(text)
    assert "Content-Security-Policy" in text
    assert not {tag for tag, _ in page.elements} & {"script", "link", "img", "iframe"}
    assert not [a for _, attrs in page.elements for a in attrs if a.startswith("on") or a in ("src", "href")]
    assert "\x00" not in text
    assert not re.search(r"\b(nan|None)\b", text)
    assert len({len(row) for row in page.rows}) == 1, "every row has a cell below every head"
    assert "&lt;script&gt;" in text.partition("To make it again")[2]


def test_scores_are_listed_by_magnitude_with_their_intervals():
    [head, *rows] = Page(report.draw(NOUNS["scores"])).rows
    assert head[:2] == ["key", "score"]
    assert [row[0].rpartition("/")[2] for row in rows] == ["1", "2", "0"]
    assert [row[2] for row in rows] == ["−2.50", "+1.75", "+0.250"]
    over = NOUNS["scores over cases"]
    [_, first, *_] = Page(report.draw(over)).rows
    [one] = over.estimates(over.places(1, signed=False))
    assert first[3] == f"{number(one.low, signed=True)} to {number(one.high, signed=True)}"


def test_the_largest_scores_are_said_to_be_some():
    many = pc.Scores(UnitIndex([Block("embed", "neurons", 500)]), np.arange(500.0))
    text = report.draw(many)
    assert "The 50 largest of 500 by magnitude." in text
    assert len(Page(text).rows) == 51


def test_a_readout_lists_the_best_target_first_after_all_of_them():
    rows = Page(report.draw(NOUNS["readout"])).rows
    assert [row[0] for row in rows[1:]] == ["all targets", "<script>alert('x')</script>\\x00", "left"]
    assert rows[1][2:] == ["+0.375", "+0.312 to +0.438", "−0.125 to +0.125", "0.062", "0.875"]


def test_a_similarity_stands_beside_its_rivals():
    rows = Page(report.draw(NOUNS["similarity"])).rows
    assert [(row[0], row[2]) for row in rows[1:]] == [("by hand", "+0.500"), ("pixels", "+0.125")]


def test_descriptions_show_their_terms_and_an_absent_measure_as_absent():
    rows = Page(report.draw(NOUNS["descriptions"])).rows
    assert [row[2] for row in rows[1:]] == ["+0.500", "not defined"]
    assert rows[1][3] == " cat <script>alert('x')</script>\\x00"


def test_bars_stand_on_one_scale():
    page = Page(report.draw(NOUNS["scores"]))
    bars = [attrs for tag, attrs in page.elements if tag == "rect"]
    widths = [float(bar["width"][:-1]) for bar in bars]
    assert widths == pytest.approx([10 * widths[2], 7 * widths[2], widths[2]], rel=1e-3)
    assert ["against" in bar["class"] for bar in bars] == [True, False, False]


@pytest.mark.parametrize("path", [path for path in FOLDER.glob("*.py") if path.stem not in PARTS], ids=lambda p: p.stem)
def test_every_other_file_names_its_noun_and_draws_it(path):
    assigned = {
        node.targets[0].id for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }  # fmt: skip
    drawn = {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}
    assert "NOUN" in assigned
    assert "draw" in drawn
    assert hasattr(pc, __import__(f"patchclamp.report.{path.stem}", fromlist=["NOUN"]).NOUN), "a public noun"


@pytest.mark.parametrize(("unit", "extra", "file"), [("m", {}, "scores"), ("m", {"receipt": {}}, "circuit")])
def test_scores_of_a_kind_go_to_its_renderer(monkeypatch, unit, extra, file):
    drawn = []
    for name in ("scores", "circuit", "patching"):
        module = __import__(f"patchclamp.report.{name}", fromlist=["draw"])
        monkeypatch.setattr(module, "draw", lambda *_, name=name, **__: drawn.append(name) or "")
    report.draw(pc.Scores(scores().index, scores().values, unit, provenance=Provenance(extra=extra)))
    assert drawn == [file]


def test_what_no_file_draws_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(pc.PatchclampError, match="a result that can be drawn: Descriptions, Explanation, Readout"):
        pc.save_report({"a": 1}, tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


def test_saved_pages_are_what_is_drawn(tmp_path):
    pc.save_report(NOUNS["scores"], tmp_path / "page.html", command="patchclamp attribute")
    assert (tmp_path / "page.html").read_text() == report.draw(NOUNS["scores"], command="patchclamp attribute")
