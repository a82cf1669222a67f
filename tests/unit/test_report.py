"""The report: its numbers are the document's, it refers to nothing, and hostile or missing values do it no harm."""

import base64
import copy
import io
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from patchclamp.core.plain_numbers import is_share
from patchclamp.loaders import load
from patchclamp.recipes import explain
from patchclamp.report.explanation import render
from patchclamp.report.html import UNDEFINED, between, number, percent, plain, safe
from patchclamp.report.picture import png_uri
from patchclamp.report.svg import Axis

VOID = {"meta", "br", "wbr", "img"}
# A circle may close itself within SVG; HTML elements may not.
SHAPES = {"line", "rect", "circle", "polyline", "polygon"}
HOSTILE = "</title></style><script>alert('1')</script>\"&\u202e\x00\x1b\n\t\ud800\u200b👩\ufffdשלום"
UNKNOWN = {"low": None, "high": None, "level": 0.95, "method": "percentile bootstrap"}


class Page(HTMLParser):
    """A page read back: its elements, its text, and whether every tag was closed in order."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.open, self.words, self.within = [], [], [], []
        page.encode()
        self.feed(page)
        self.close()
        assert not self.open
        self.text = re.sub(r"\s+", " ", "".join(self.words))

    def handle_starttag(self, tag, attrs):
        assert len({name for name, _ in attrs}) == len(attrs)
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert tag in SHAPES
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)
            self.within.append((self.open[-1] if self.open else "", data))

    def every(self, tag, of=""):
        return [attrs for t, attrs in self.elements if t == tag and (not of or of in attrs.get("class", "").split())]


def example_document():
    """Return a small document by hand: two causes, one opponent, three checks."""
    interval = {"low": -0.4, "high": 0.2, "level": 0.95, "method": "percentile bootstrap"}

    def cause(index, predicted, measured):
        return {
            "key": f"toy/blocks.0.mlp.act/neurons/{index}@1", "kind": "neuron", "position": 1, "token": " cat",
            "activation": 1.5, "predicted": predicted, "measured": measured, "promotes": [" sat", "\n"],
        }  # fmt: skip

    def check(index, predicted, measured, near):
        key = f"toy/blocks.0.mlp.act/neurons/{index}@1"
        return {"key": key, "predicted": predicted, "measured": measured, "near_zero": near}

    return {
        "question": {
            "prompt": "the cat", "given": "", "target": " sat", "contrast": " ran", "corrupt": None,
            "answers": [" sat", " ran"], "explained": "logit(' sat') − logit(' ran')",
            "quantity": "the lead of ' sat' over ' ran'", "unit": "logits", "read": ["", ""],
            "metric": {"kind": "logit_difference", "target": [3], "positions": [-1], "contrast": [4]},
        },
        "subject": {"slug": "toy", "hash": "0123abcd"}, "method": "attribution_patching", "baseline": "zero",
        "metric_clean": 4.25, "metric_baseline": -1.5, "probability": 0.75,
        "likeliest": [[" sat", 0.75], [" ran", 0.125], [".", 0.00005]],
        "total": 3.25, "gap": None, "seed": 7,
        "tokens": [
            {"position": 0, "text": "the", "predicted": -0.5}, {"position": 1, "text": " cat", "predicted": 3.75},
        ],
        "causes": [cause(1, 3.5, 3.125), cause(2, 0.75, 0.0625)], "opposing": [cause(3, -0.5, -0.375)],
        "cautions": ["The model is small."],
        "predicted": 4.25, "measured": 3.375, "normalised": {"predicted": 0.739, "measured": 0.587},
        "receipts": {
            "verdict": "weak", "reasons": ["p = 0.25"], "sentence": "Weak: little.",
            "together": 3.375, "singly": [3.125, 0.0625, -0.375],
            "randoms": {
                "measured": [0.25, -0.5, 0.125], "size": 2, "different": 3, "outside": 0.25, "interval": interval,
                "rule": "same site and position, like size", "step": "size", "p": 0.25, "seed": 7, "mean": -0.0417,
            },
            "rivals": [
                {"name": "largest activations", "keys": ["a", "b"], "shared": 0, "measured": 0.875},
                {"name": "direct logit attribution", "keys": ["a", "b"], "shared": 1, "measured": 5.625},
            ],
            "agreement": {
                "checks": [check(1, 3.5, 3.125, False), check(3, -0.5, -0.375, False), check(9, 0.0, 0.001, True)],
                "spearman": 0.9, "spearman_interval": interval, "slope": 0.8, "slope_interval": interval,
            },
            "kept": {
                "sizes": [0, 1, 2, 4, 6], "measured": [-1.5, 1.0, 4.5, 4.125, 4.25],
                "random": [-1.5, -1.0, 0.0, 2.0, 4.25],
                "random_low": [-1.5, -2.0, -1.0, 1.0, 4.25], "random_high": [-1.5, 0.0, 1.0, 3.0, 4.25], "nodes": 6,
            },
        },
    }  # fmt: skip


@pytest.fixture
def document():
    return example_document()


@pytest.fixture(scope="module")
def explained():
    cat = load("organism:cat")
    asked = {"contrast": " ran", "top": 5}
    return [
        explain(cat, "the old cat", " sat", **asked).to_json(),
        explain(cat, "the old cat", " sat", counterpart="the old rabbit", **asked).to_json(),
        explain(cat, "the old cat", " sat", method="integrated_gradients").to_json(),
    ]


def test_numbers_are_those_of_the_document(explained, document):
    for d in [*explained, document]:
        text = Page(render(d)).text
        receipts = d["receipts"]
        effects = [
            *(v for c in (*d["causes"], *d["opposing"]) for v in (c["predicted"], c["measured"])),
            receipts["together"], receipts["randoms"]["mean"], *(r["measured"] for r in receipts["rivals"]),
            *receipts["randoms"]["measured"],
        ]  # fmt: skip
        a = receipts["agreement"]
        plainly = [d["metric_clean"], d["metric_baseline"], receipts["randoms"]["p"], a["spearman"], a["slope"]]
        shown = [number(v, signed=True) for v in effects] + [number(v) for v in plainly]
        shown += [percent(v) for v in (d["probability"], *filter(is_share, [d["normalised"]["measured"]]))]
        shown += [percent(p) for _, p in d["likeliest"]]
        shown += [between(i) for i in (receipts["randoms"]["interval"], a["spearman_interval"], a["slope_interval"])]
        assert not [s for s in shown if s.replace("\u00a0", " ") not in text]


def test_tables_hold_each_node_once_in_order_without_its_subject(document):
    page = Page(render(document))
    keys = "".join(data for tag, data in page.within if tag == "code")
    assert re.findall(r"blocks\.0\.mlp\.act/neurons/(\d)@1", keys) == ["1", "2", "3"]
    assert "toy/" not in page.text
    assert len(page.every("svg", "bar")) == 3


def test_the_page_refers_to_nothing_outside(explained):
    for d in explained:
        page = render(d, command="patchclamp explain organism:cat 'the old cat' --target ' sat'")
        for word in (
            "http://",
            "https://",
            "src=",
            "href",
            "url(",
            "@import",
            "<script",
            "<link",
            "javascript",
            "nan",
            "None",
        ):
            assert word not in page, word
        assert page.count("<!doctype html>") == page.count("Content-Security-Policy") == 1
        assert "patchclamp explain organism:cat 'the old cat'" in page


def test_the_page_says_what_it_shows_without_eyes(explained):
    for d in explained:
        page = Page(render(d))
        headings = [tag for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
        assert headings.count("h1") == 1
        assert headings[:2] == ["h1", "h2"]
        outer = [a for a in page.every("svg") if "aria-hidden" not in a]
        assert outer
        assert all(a["role"] == "img" and a["aria-label"] for a in outer)
        assert all(a.get("scope") in ("col", "row") for a in page.every("th"))
        assert page.every("html")[0]["lang"] == "en"
        ids = [a["id"] for _, a in page.elements if "id" in a]
        assert len(set(ids)) == len(ids)
        assert {a["aria-labelledby"] for _, a in page.elements if "aria-labelledby" in a} == set(ids)


def test_every_check_is_a_point_at_its_place(explained, document):
    for d in [*explained, document]:
        checks = d["receipts"]["agreement"]["checks"]
        points = Page(render(d)).every("circle", "check")
        assert len(points) == len(checks)
        assert sum("near" in p["class"] for p in points) == sum(c["near_zero"] for c in checks)
    x, y = ([float(p[at][:-1]) for p in points] for at in ("cx", "cy"))
    assert sorted(range(3), key=x.__getitem__) == sorted(range(3), key=lambda i: checks[i]["predicted"])
    assert sorted(range(3), key=lambda i: -y[i]) == sorted(range(3), key=lambda i: checks[i]["measured"])


def test_bars_stand_on_one_zero(document):
    page = Page(render(document))
    bars = [a for a in page.every("rect") if int(a["height"]) == 16]
    zero = next(float(a["x1"][:-1]) for a in page.every("line", "zero"))
    ends = [(float(a["x"][:-1]), float(a["width"][:-1]), "against" in a["class"]) for a in bars]
    assert len(ends) == 4
    for left, width, against in ends:
        assert (left + width if against else left) == pytest.approx(zero, abs=0.01)
    scale = [width / abs(v) for (_, width, _), v in zip(ends, (3.375, -0.0417, 0.875, 5.625), strict=True)]
    assert scale == pytest.approx([scale[0]] * 4, rel=0.03)


def test_tokens_are_shaded_on_one_symmetric_scale_and_their_sums_are_not_printed(document):
    document["tokens"].append({"position": 2, "text": "?", "predicted": 0.0})
    tokens = Page(render(document)).every("span", "t")
    assert [a["title"] for a in tokens] == ["position 0", "position 1", "position 2"]
    assert [a["class"].split()[1:] for a in tokens] == [["against"], ["carries"], []]
    assert [a.get("style") for a in tokens] == ["--a:0.133", "--a:1.000", None]


def test_a_strong_rival_is_named_so(document):
    text = Page(render(document)).text
    assert "Replacing these 2 of 6 nodes together takes 3.38 from m = 4.25." in text
    assert "The set chosen by direct logit attribution takes more: 5.62 (1 of 2 shared with ours)." in text
    assert "The set chosen by largest activations takes less: 0.875 (no unit shared with ours)." in text


def test_random_sets_as_strong_are_named_so(document):
    assert "No random set of 2 nodes has as large an effect" in Page(render(document)).text
    document["receipts"]["randoms"]["measured"] = [3.5, -9.0, 0.125]
    text = Page(render(document)).text
    assert "Of 3 random sets of 2 nodes, 2 have at least as large an effect" in text
    assert "this receipt does not show that these nodes are special" in text


def test_small_sets_few_sets_and_effects_the_wrong_way_are_admitted(document):
    document["receipts"]["randoms"] |= {"size": 1, "different": 2, "asked": 20}
    document["receipts"]["together"] = -0.25
    text = Page(render(document)).text
    assert "Each random set has only 1 node" in text
    assert "Only 2 of 20 random sets could be drawn" in text
    assert "does not lower m: it adds 0.250 to m = 4.25" in text


@pytest.mark.parametrize(
    ("method", "other"),
    [
        ("attribution_patching", "integrated_gradients"),
        ("relp", "integrated_gradients"),
        ("integrated_gradients", "activation_patching"),
    ],
)
def test_poor_agreement_is_said_with_another_method(document, method, other):
    assert "agree poorly" not in render(document)
    document["receipts"]["agreement"]["spearman"], document["method"] = 0.49, method
    text = Page(render(document)).text
    assert "Predictions agree poorly with single replacements here" in text
    assert f"--method {other}" in text


def test_shares_are_given_or_the_reason(document):
    assert "(−1.50): 58.7 %." in Page(render(document)).text
    for measured, why in ((1.62, "take more than m on the prompt (4.25)"), (-0.3, "raise m")):
        document["normalised"] = {"predicted": 0.5, "measured": measured}
        text = Page(render(document)).text
        assert f"No share is given: these nodes {why}" in text
        assert percent(measured) not in text
    document["normalised"] = {"predicted": None, "measured": None}
    document["metric_baseline"] = 4.2
    assert "is below 0.1." in Page(render(document)).text


def test_the_reference_is_named_and_the_corrupted_prompt_shown(document):
    assert "replaced by zero" in Page(render(document)).text
    assert "replaced by their means over a text" in Page(render(document | {"baseline": "mean"})).text
    document["question"]["corrupt"], document["baseline"] = "the dog", "corrupted"
    page = Page(render(document))
    assert ("mark", "dog") in page.within
    assert "m on the corrupted prompt" in page.text


def test_the_verdict_and_the_cautions_stand_before_the_prompt(document):
    text = Page(render(document)).text
    places = [
        text.index(words) for words in ("Weak: little.", "The model is small.", "m is the lead of", "blue raises m")
    ]
    assert places == sorted(places)
    document["metric_clean"], document["normalised"] = -1.0, {"predicted": None, "measured": None}
    assert "The model does not prefer this answer, so no percentage is given." in Page(render(document)).text


def test_an_answer_of_several_tokens_says_in_its_title_where_it_is_read(document):
    document["question"] |= {"target": " sat down", "read": [" sat", ""]}
    page = Page(render(document))
    assert ("title", "Why ' sat down' (read at ' sat') rather than ' ran'?") in page.within


def test_an_image_is_shown_and_no_token_is_spoken_of(document):
    document["question"] |= {"image": True, "prompt": "digits:17"}
    for cause in (*document["causes"], *document["opposing"]):
        cause |= {"kind": "channel", "token": "everywhere", "promotes": []}
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    page = Page(render(document, image=png_uri(pixels)))
    [shown] = page.every("img")
    assert shown["src"].startswith("data:image/png;base64,")
    for word in ("token", "promotes", "head"):
        assert word not in page.text.lower().replace("heading", ""), word
    assert "The model's likeliest classes" in page.text
    assert "img-src data:" in page.every("meta")[1]["content"]


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 3), (3, 4, 1)])
def test_a_png_holds_the_pixels(shape):
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, shape)
    file = base64.b64decode(png_uri(pixels).partition(",")[2])
    assert (np.asarray(image.open(io.BytesIO(file))) == pixels.squeeze()).all()
    fractions = np.linspace(0, 1, 12).reshape(1, 3, 4)
    file = base64.b64decode(png_uri(fractions).partition(",")[2])
    assert np.asarray(image.open(io.BytesIO(file))).ravel()[[0, -1]].tolist() == [0, 255]


def test_questions_of_other_kinds(document):
    q = document["question"]
    sequence = {"kind": "sequence_log_probability", "target": [3, 5], "positions": [0, 1]}
    one = q | {"target": "the cat sat", "contrast": None, "answers": ["the cat sat"], "metric": sequence}
    page = Page(render(document | {"question": one}))
    assert "Why 'the cat sat'?" in page.text
    assert [("next" in a["class"]) for a in page.every("span", "t")] == [False, True]
    shared = Page(render(document | {"question": q | {"given": " cat"}}))
    assert [("next" in a["class"]) for a in shared.every("span", "t")] == [False, True]
    kl = {"kind": "kl", "target": [], "positions": [-1], "reference": [0.5] * 5000}
    bare = q | {"target": "", "contrast": None, "answers": [], "metric": kl, "explained": "kl()"}
    page = render(document | {"question": bare, "probability": None})
    assert "What carries kl()?" in page
    assert "0.5" not in Page(page).text.partition("How it was made")[2]  # no logit of the reference


def test_nothing_known_is_said_to_be_unknown(document):
    receipts = document["receipts"]
    receipts["together"] = document["metric_baseline"] = document["gap"] = document["probability"] = None
    receipts["randoms"] |= {"measured": [None, None], "mean": None, "interval": UNKNOWN, "p": None}
    receipts["agreement"] |= {
        "spearman": None, "slope": math.nan, "spearman_interval": UNKNOWN, "slope_interval": UNKNOWN
    }  # fmt: skip
    receipts["agreement"]["checks"][0]["measured"] = None
    receipts["rivals"][0]["measured"] = None
    receipts["kept"]["measured"] = receipts["kept"]["random"] = [None] * 5
    document["normalised"] = {"predicted": None, "measured": None}
    document["causes"][0] |= {"measured": None, "promotes": [], "token": ""}
    document["tokens"][0]["predicted"] = None
    page = render(document)
    assert UNDEFINED in page
    assert not re.search(r"\b(nan|None|inf)\b", Page(page).text)
    assert "not promised by this method" in page
    assert "1 node without a number" in Page(page).text
    assert len(Page(page).every("circle", "check")) == 2


def test_one_cause_without_opponents_and_checks_of_nothing(document):
    document |= {"causes": document["causes"][:1], "opposing": []}
    for check in document["receipts"]["agreement"]["checks"]:
        check["predicted"] = check["measured"] = 0.0
    for name in ("measured", "random", "random_low", "random_high"):
        document["receipts"]["kept"][name] = [4.25] * 5
    page = Page(render(document))
    assert "Replacing this 1 of 6 nodes takes" in page.text
    assert "No node is predicted to work against it." in page.text
    assert {(a["cx"], a["cy"]) for a in page.every("circle", "check")} == {("50.0%", "50.0%")}


def test_many_tokens_and_causes(document):
    document["tokens"] = [{"position": i, "text": f" w{i}", "predicted": i / 7 - 30} for i in range(500)]
    document["causes"] = [copy.deepcopy(document["causes"][i % 2]) for i in range(200)]
    page = Page(render(document))
    assert len(page.every("span", "t")) == 500
    assert len(page.every("svg", "bar")) == 201


@given(st.text(st.characters(exclude_categories=()), max_size=12))
@example(HOSTILE)
@example("")
@example(" ")
def test_hostile_text_stays_text(text):
    document = example_document()
    before = Page(render(document, command="patchclamp"))
    document["tokens"][0]["text"] = document["causes"][0]["token"] = document["opposing"][0]["promotes"][0] = text
    document["likeliest"][2][0] = document["subject"]["slug"] = text
    document["receipts"]["rivals"][0]["name"] = document["receipts"]["agreement"]["checks"][0]["key"] = text
    document["question"] |= {
        "quantity": text, "unit": text, "read": [text, text],
        "prompt": text, "corrupt": text, "target": text, "contrast": text, "answers": [text, text], "explained": text
    }  # fmt: skip
    document["cautions"] = [text]
    document["receipts"]["sentence"], document["baseline"] = f"Weak: {text}", "corrupted"
    page = Page(render(document, command=text))
    new = {tag for tag, _ in page.elements} - {tag for tag, _ in before.elements}
    assert new <= {"mark", "br"}
    assert not [a for _, attrs in page.elements for a in attrs if a.startswith("on") or a in ("src", "href")]
    # The page's own spaces: a line's end, and three that keep numbers together or apart.
    assert all(c.isprintable() or c in "\n\u00a0\u2003\u2007" for c in "".join(page.words))


@given(st.text(st.characters(exclude_categories=())))
@example(HOSTILE)
def test_safe_text_is_printable_and_loses_nothing_that_is(text):
    assert plain(text).isprintable()
    assert [c for c in text if c.isprintable()] == [c for c in plain(text) if c.isprintable()] or plain(text) != text
    assert not set(safe(text)) & set("<>\"'")


@pytest.mark.parametrize(
    ("value", "plainly", "signed"),
    [
        (9.754, "9.75", "+9.75"), (-0.08869, "−0.089", "−0.089"), (0.9999, "1.000", "+1.000"), (0.0, "0.000", "0.000"),
        (-0.0001, "0.000", "0.000"), (3, "3.00", "+3.00"), (-2.5e7, "−2.50e+07", "−2.50e+07"),
        (None, UNDEFINED, UNDEFINED), (math.nan, UNDEFINED, UNDEFINED), (math.inf, UNDEFINED, UNDEFINED),
    ],
)  # fmt: skip
def test_numbers_are_written_one_way(value, plainly, signed):
    assert number(value) == plainly
    assert number(value, signed=True) == signed


@given(st.lists(st.floats(-1e9, 1e9), max_size=6))
def test_an_axis_shows_every_value_and_zero(values):
    axis = Axis.over(values)
    assert all(-1e-3 <= axis.at(v) <= 100.001 for v in [0.0, *values])
    ticks = axis.ticks()
    assert 1 <= len(ticks) <= 12
    assert "0" in [label for _, label in ticks]
    assert len({label for _, label in ticks}) == len(ticks)
