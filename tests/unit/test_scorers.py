"""True rules score high, those of other units and random ones at chance, and hard negatives lower every score."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

import patchclamp as pc
from patchclamp import report
from patchclamp.calibrate.described import describe_by, planted_rules
from patchclamp.core.descriptions import Descriptions, ScoreColumns
from patchclamp.core.keys import Block, UnitIndex
from patchclamp.core.method_files import find_method
from patchclamp.core.stats import auroc, bootstrap_interval, pearson
from patchclamp.describe.judges.rule import RuleJudge
from patchclamp.describe.readers import CountEncoder, CountReader
from patchclamp.describe.score import ScoredDescriptions, derange, score_descriptions
from patchclamp.describe.scorers.fuzzing import mark_tokens
from patchclamp.describe.window_intervals import area, balanced_accuracy, correlation
from patchclamp.describe.windows import ShownWindows, iterate_units
from patchclamp.report import terminal

READ = ("detection", "fuzzing", "simulation", "surprisal", "embedding")
"""Scorers that read descriptions and run no model."""
NAME = "language-gpt2"


def score(planted, scorers=READ, **given):
    texts = ShownWindows(planted.subject, planted.exemplars).texts(range(len(planted.exemplars.stimuli)))
    how = {"reader": CountReader(texts), "encoder": CountEncoder(), **given}
    return score_descriptions(planted.subject, planted.exemplars, planted.descriptions, scorers=scorers, **how)


@cache
def whole():
    return planted_rules(NAME, "tokens")


@pytest.fixture(scope="module")
def planted():
    return whole()


@pytest.fixture(scope="module")
def scored(planted):
    return score(planted)


@cache
def few(n=4):
    some = whole().exemplars
    rows = np.flatnonzero(some.unit < n)
    return replace(whole(), exemplars=some.take(rows), descriptions=whole().descriptions.take(range(n)))


@cache
def wide(negatives):
    return planted_rules(NAME, "near", n_units=6, negatives=negatives)


@pytest.mark.parametrize("name", [*READ, "detection_auroc", "fuzzing_auroc"])
def test_true_rules_score_high_and_what_knows_nothing_scores_chance(scored, name):
    rows = {row: scored.row(name, row).estimate for row in ("described", "shuffled", "random")}
    assert rows["described"].value >= 0.9
    chance = scored.descriptions.scores[name].chance
    for row in ("shuffled", "random"):
        # Windows that hold one word hold others less often, as they are of one length.
        assert rows[row].value == pytest.approx(chance, abs=0.06), row


@pytest.mark.parametrize("name", READ)
def test_hard_negatives_lower_every_score(name):
    # A rule that leaves out the context is right of windows at random, and wrong of those that hold its token.
    easy = score(wide("silent"), [name]).row(name).estimate
    hard = score(wide("neighbour"), [name]).row(name).estimate
    assert hard.high < easy.low


def test_an_intruder_is_found_among_windows_of_a_unit_and_not_among_windows_of_noise(planted):
    assert score(few(), ["intruder"]).row("intruder").estimate.value >= 0.9
    noise = score(planted_rules(NAME, "noise", n_units=8), ["intruder"]).row("intruder").estimate
    assert noise.low <= 0.2 <= noise.high


class Partial(RuleJudge):
    """Answer every other question alone."""

    def fits(self, description, windows):
        return [one if i % 2 else None for i, one in enumerate(super().fits(description, windows))]


def test_answers_that_cannot_be_read_are_missing_and_never_wrong():
    some = few()
    found = score(some, ["detection"], judge=Partial())
    column = found.descriptions.scores["detection"]
    assert column.value.tolist() == [1.0] * 4
    assert (column.n.tolist(), column.missing.tolist()) == ([40] * 4, [40] * 4)
    assert (found.row("detection").missing, found.row("detection").answers) == (160, 320)
    nothing = score(replace(some, descriptions=describe_by(["words about animals"] * 4)), READ[:3])
    assert all(np.isnan(one.value).all() and one.missing.min() == 80 for one in nothing.descriptions.scores.values())


def test_a_judge_that_answers_of_other_windows_is_refused():
    class Short(RuleJudge):
        def fits(self, description, windows):
            return super().fits(description, windows)[:-1]

        def simulate(self, description, windows):
            return [one[:-1] for one in super().simulate(description, windows)]

    for name, words in (("detection", "80 answers, one a window"), ("simulation", "numbers for 80 windows")):
        with pytest.raises(pc.PatchclampError, match=words):
            score(few(), [name], judge=Short())


def test_what_cannot_be_scored_is_refused():
    some = few()
    with pytest.raises(pc.PatchclampError, match="a scorer at least"):
        score(some, [])
    with pytest.raises(pc.PatchclampError, match="windows in which described units fire"):
        score(replace(some, exemplars=some.exemplars.of_kinds("quantile")), ["detection"])
    other = replace(some.descriptions, index=UnitIndex([Block("blocks.0.mlp.act", "neurons", 4)]))
    with pytest.raises(pc.PatchclampError, match="windows in which described units fire"):
        score(replace(some, descriptions=other), ["detection"])
    with pytest.raises(pc.PatchclampError, match="activation at every position"):
        score(replace(some, exemplars=replace(some.exemplars, activations=None)), ["fuzzing"])
    with pytest.raises(pc.PatchclampError, match="that reads descriptions"):
        score_descriptions(Nameless(some.subject), some.exemplars, some.descriptions, scorers=["surprisal"])


class Nameless:
    """Name tokens, and nothing more."""

    def __init__(self, subject):
        self.name, self.hash, self.answer_name = "tokens", "", subject.answer_name
        self.capabilities = None


def test_marks_are_drawn_anew_for_each_unit_and_window_and_come_back_with_the_seed(planted):
    shown = ShownWindows(planted.subject, planted.exemplars)
    drawn = []
    for rows in list(iterate_units(planted.exemplars))[:6]:
        marks, again = (np.array(mark_tokens(shown, rows, 0.3, rows.draw(0))[40:]) for _ in range(2))
        assert np.array_equal(marks, again)
        assert len({one.tobytes() for one in marks}) > 5
        drawn.append(marks.tobytes())
    assert len(set(drawn)) == 6
    # A positive's marks are the tokens of at least 0.3 of its highest activation.
    values = planted.exemplars.row_activations(int(rows.active[0]))
    assert np.array_equal(mark_tokens(shown, rows, 0.3, rows.draw(0))[0], values >= 0.3 * values.max())


def test_deciles_say_where_a_rule_that_only_knows_the_strongest_is_blind():
    some = few(1)
    [rows] = iterate_units(some.exemplars)

    class Strong(RuleJudge):
        def fits(self, description, windows):
            strong = ShownWindows(some.subject, some.exemplars).of_rows(rows.active[20:])
            return [float(window in strong) for window in windows]

    found = score(some, ["detection"], judge=Strong()).descriptions.scores["detection"]
    assert found.deciles[0].tolist() == [0.0] * 5 + [1.0] * 5
    assert found.value[0] == 0.75


def test_intervals_are_those_of_the_bootstrap():
    draw = np.random.default_rng(0)
    one, zero = draw.random(40) < 0.8, draw.random(50) < 0.3
    value, low, high = balanced_accuracy(one, zero, draw)
    assert value == pytest.approx((one.mean() + 1 - zero.mean()) / 2)
    p, q = draw.normal(1, 1, 40).round(1), draw.normal(0, 1, 50).round(1)
    both, labels = np.concatenate([p, q]), np.repeat([1, 0], [40, 50])
    shown, below, above = area(p, q, draw)
    assert shown == pytest.approx(auroc(both, labels))
    x = [draw.normal(100, 1, 9) for _ in range(30)]
    y = [a + draw.normal(0, 1, 9) for a in x]
    r, least, most = correlation(x, y, draw)
    assert r == pytest.approx(pearson(np.concatenate(x), np.concatenate(y)))

    def drawn(statistic):
        rows = [statistic(np.random.default_rng(i)) for i in range(400)]
        return np.quantile(rows, [0.025, 0.975])

    def resampled(rng):
        i, j = rng.integers(0, 40, 40), rng.integers(0, 50, 50)
        return (one[i].mean() + 1 - zero[j].mean()) / 2, auroc(np.concatenate([p[i], q[j]]), labels)

    assert [low, high] == pytest.approx(drawn(lambda rng: resampled(rng)[0]), abs=0.02)
    assert [below, above] == pytest.approx(drawn(lambda rng: resampled(rng)[1]), abs=0.02)
    whole = np.stack([np.stack(x), np.stack(y)], 1).reshape(30, 18)
    own = bootstrap_interval(whole, lambda rows: pearson(rows[:, :9].ravel(), rows[:, 9:].ravel()), n_resamples=400)
    assert [least, most] == pytest.approx([own.low, own.high], abs=0.02)


def test_no_unit_is_shuffled_to_its_own_text():
    draw = np.random.default_rng(0)
    for texts in (list("abcdefg"), list("aaabbbcc"), list("ab"), list("aabb")):
        source = derange(texts, draw)
        assert sorted(source) == list(range(len(texts)))
        assert all(texts[i] != texts[j] for i, j in enumerate(source))
    assert len(derange([], draw)) == 0


def test_scores_come_back_from_disk_are_taken_and_put_together(scored, tmp_path):
    held = replace(scored.descriptions, evidence=("exemplars 12ab", "top 8"))
    held.save(tmp_path / "words")
    again = Descriptions.load(tmp_path / "words")
    assert again.to_json(3) == held.to_json(3)
    assert (again.evidence, again.description(again.index[0]).evidence) == (held.evidence, held.evidence)
    estimate = again.description(again.index[0]).scores[0]
    assert (estimate.value, estimate.unit, estimate.n) == (1.0, "balanced accuracy", 80)
    parts = [held.take(range(10)), held.take(range(10, 24))]
    whole = Descriptions.concatenate(parts)
    assert [whole.text(i) for i in range(24)] == [held.text(i) for i in range(24)]
    assert whole.scores["detection"].deciles.tolist() == held.scores["detection"].deciles.tolist()
    with pytest.raises(pc.PatchclampError, match="every unit in one part"):
        Descriptions.concatenate([parts[0], parts[0]])
    with pytest.raises(pc.PatchclampError, match="the same measures and scores"):
        Descriptions.concatenate([parts[0], replace(parts[1], scores={})])
    with pytest.raises(pc.PatchclampError, match="columns of one length"):
        ScoreColumns(np.zeros(2), np.zeros(2), np.zeros(2), np.zeros(3, int), np.zeros(2, int))


def test_sites_scored_apart_are_what_they_are_together(scored, planted):
    halves = [np.flatnonzero(planted.exemplars.unit < 10), np.flatnonzero(planted.exemplars.unit >= 10)]
    sides = [planted.exemplars.take(rows) for rows in halves]
    detection = find_method("detection", "describe", kind="scorer")
    once = planted.descriptions
    for side in sides:
        once = detection(planted.subject, side, once, RuleJudge())
    assert once.scores["detection"].value.tolist() == scored.descriptions.scores["detection"].value.tolist()
    parts = [
        score(replace(planted, exemplars=side, descriptions=planted.descriptions.take(places)), ["detection"])
        for side, places in zip(sides, (range(10), range(10, 24)), strict=True)
    ]
    whole = ScoredDescriptions.concatenate(parts)
    assert whole.row("detection").estimate.n == 24
    assert (whole.costs[0].windows, whole.costs[0].calls) == (3 * 24 * 80, 72)
    assert whole.row("detection", "random").estimate.value == pytest.approx(0.5, abs=0.05)


def test_scored_descriptions_are_drawn_with_their_controls(scored, capsys):
    page = report.draw(scored, command="patchclamp describe <b>")
    assert "names of random tokens" in page
    assert "&lt;b&gt;" in page
    terminal.show(scored, 5)
    shown = " ".join(capsys.readouterr().out.split())
    assert "each given to another unit" in shown
    data = scored.to_json(2)
    assert [one["row"] for one in data["rows"][:3]] == ["described", "shuffled", "random"]
    assert len(data["descriptions"]["descriptions"]) == 2
