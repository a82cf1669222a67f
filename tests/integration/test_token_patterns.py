"""What a unit detects in a text without labels: planted patterns, and AUROC against pairs compared one by one."""

import numpy as np
import pytest

import patchclamp as pc
from patchclamp.atlas.bake.read_text import spread
from patchclamp.atlas.bake.token_patterns import (
    PatternSample,
    find_patterns,
    sample_tokens,
    score_patterns,
    strongest_tokens,
)
from patchclamp.core.stimulus import Role, Stimulus
from patchclamp.subjects.corpora import read_corpus

WORDS = ("the", " cat", " dog", " fox", " to", " Ada", " ran", "\n", ".", "ning")
SITE = "blocks.0.mlp.act"


def pairwise_auroc(up, down):
    """P(up > down) + P(up = down) / 2, every pair compared."""
    return float(np.mean((up[:, None] > down[None]) + 0.5 * (up[:, None] == down[None])))


@pytest.fixture(scope="module")
def sample():
    draw = np.random.default_rng(0)
    ids = draw.integers(0, len(WORDS), size=(40, 50))
    before = np.concatenate([np.full((40, 1), -1), ids[:, :-1]], 1)
    stimuli = tuple(Stimulus(row, np.full(50, int(Role.TEXT)), np.full((50, 2), -1)) for row in ids)
    return PatternSample(stimuli, ids.ravel(), before.ravel(), np.repeat(np.arange(40), 50))


def planted(sample):
    draw = np.random.default_rng(1)
    noise = 0.05 * draw.normal(size=(7, len(sample.ids)))
    word = np.array(WORDS)[sample.ids]
    before = np.where(sample.before >= 0, np.array(WORDS)[sample.before], "")
    truth = [
        word == " cat",
        np.isin(word, [" cat", " dog"]),
        before == " to",
        word == "ning",
        np.isin(word, ["\n", "."]) * (draw.random(len(word)) < 0.9),
        (word == " fox") & sample.choosing,  # nothing of it is left where patterns are measured
        np.zeros(len(word)),
    ]
    return (np.stack(truth) + noise).T.astype(np.float32)


def test_planted_patterns_are_found_and_what_holds_in_one_half_only_is_not(sample):
    patterns = find_patterns(sample, lambda id: (WORDS[id], False))
    found = score_patterns(planted(sample), sample, patterns)
    named = [{(kind, frozenset(words.removeprefix("after ").split())) for kind, words, _ in one} for one in found]
    assert named[0] == {("token", frozenset({"cat"}))}
    assert named[1] == {("token", frozenset({"cat", "dog"}))}
    assert named[2] == {("after", frozenset({"to"}))}
    assert [words for _, words, _ in found[3]] in (["ning"], ["inside of a word"])
    for unit in range(4):
        assert found[unit][0][2].value > 0.99
    # Chosen by the first half alone, and measured where it no longer holds.
    assert named[5] == {("token", frozenset({"fox"}))}
    assert found[5][0][2].low < 0.5 < found[5][0][2].high
    assert found[6] == [] or found[6][0][2].low < 0.6


def test_values_that_are_not_finite_or_never_change_detect_nothing(sample):
    patterns = find_patterns(sample, lambda id: (WORDS[id], False))
    values = planted(sample)[:, :2].copy()
    values[3, 0], values[:, 1] = np.nan, 2.0
    assert score_patterns(values, sample, patterns) == [[], []]
    assert strongest_tokens(values, sample)[0] is None


def holds(kind, words, token, before):
    """Say whether a pattern that names tokens is true at one token."""
    text = token if kind == "token" else before
    return text is not None and text.strip() in words.removeprefix("after ").split(" ")


def test_lines_are_those_of_a_plain_recount(models, tmp_path):
    model, draw = models["llama"], np.random.default_rng(3)
    text = tmp_path / "words.txt"
    # A Zipf-like text: some words are frequent enough to be patterns, some are not.
    text.write_text(" ".join(f"w{int(56 * x**3)}" for x in draw.random(1500)))
    corpus = pc.Corpus(text, window=60)
    pc.atlas.bake_atlas(model, corpus, tmp_path / "a.atlas", sites=SITE)
    reading = pc.atlas.open(tmp_path / "a.atlas").reading
    stimuli = [s for batch in read_corpus(model, corpus) for s in batch]
    half = (len(stimuli) + 1) // 2
    values = [np.asarray(model.run(s, record=SITE, logits=False).recording[SITE]) for s in stimuli]
    spelt = [[model.tokenizer.spelling(int(i))[0] for i in s.ids] for s in stimuli]
    n_named = 0
    for unit in range(48):
        line = reading.line(f"{SITE}/neurons/{unit}")
        if line.detects is None:
            continue
        chosen_on = []
        means = {}
        up, down = [], []
        for number, (stimulus, x, tokens) in enumerate(zip(stimuli, values, spelt, strict=True)):
            for i in np.flatnonzero(stimulus.counted):
                means.setdefault(tokens[i], []).append(x[i, unit])
                before = tokens[i - 1] if i and stimulus.counted[i - 1] else None
                if number < half and line.detects.kind != "class":
                    chosen_on.append((x[i, unit], holds(line.detects.kind, line.detects.concept, tokens[i], before)))
                if number >= half and line.detects.kind != "class":
                    true = holds(line.detects.kind, line.detects.concept, tokens[i], before)
                    (up if true else down).append(x[i, unit])
        often = {token: np.mean(v) for token, v in means.items() if len(v) >= 3}
        assert line.strongest.text == max(often, key=often.get)
        assert line.strongest.weight == pytest.approx(max(often.values()), rel=1e-3, abs=1e-6)
        if line.detects.kind != "class":
            n_named += 1
            highest = sorted(chosen_on, key=lambda one: -one[0])[:20]
            assert np.mean([true for _, true in highest]) > 0.25
            assert line.detects.auroc.n == len(up)
            assert line.detects.auroc.value == pytest.approx(pairwise_auroc(np.array(up), np.array(down)), abs=2e-4)
    assert n_named > 10


def test_a_sample_of_a_long_text_is_bounded_and_evenly_spread(models, tmp_path):
    text = tmp_path / "words.txt"
    text.write_text("w1 w2 w3 " * 400)
    batches = read_corpus(models["llama"], pc.Corpus(text, window=60))
    step = spread(batches.n_tokens, 300)
    taken = sample_tokens([s for number, s in enumerate(s for batch in batches for s in batch) if number % step == 0])
    assert len(taken.ids) <= 300 + 60
    assert len(taken.stimuli) >= 4
    assert len(taken.ids) == len(taken.before) == len(taken.document) == sum(s.counted.sum() for s in taken.stimuli)


def test_the_line_and_the_label_of_planted_units(seeded_atlas):
    from tests.seeded import CAT, DECOY

    reading = pc.atlas.open(seeded_atlas).reading
    line = reading.line(f"{SITE}/neurons/{CAT}")
    assert line.text.startswith("detects cat, AUROC 1.00 [")
    page = pc.atlas.open(seeded_atlas).unit(f"{SITE}/neurons/{CAT}")
    assert line.text.endswith(f" · fires at {100 * page.statistics.frequency:.2f} %")
    assert reading.label(f"cat/{SITE}/neurons/{CAT}@3") == 'fires on " cat" and nothing else'
    assert reading.line(f"{SITE}/neurons/{DECOY}").detects is not None
    silent = reading.line(f"{SITE}/neurons/0")
    assert silent.silent
    assert silent.text.endswith("never fired")
