"""Planted neurons: the miner finds the rule that was planted, not the decoy's, and says what it saw."""

import json
from dataclasses import replace

import numpy as np
import pytest

from oracles.rules import rule as oracle
from patchclamp import organisms
from patchclamp.calibrate.corpora import make_evidence
from patchclamp.core.corpus import Corpus
from patchclamp.core.errors import PatchclampError
from patchclamp.core.exemplars import KINDS, Exemplars
from patchclamp.core.site import Site
from patchclamp.core.stimulus import Picture, Stimulus
from patchclamp.describe.judge import Judge, Window
from patchclamp.describe.judges.rule import RuleJudge
from patchclamp.describe.methods.rule import METHOD
from patchclamp.describe.rules import Tokens
from patchclamp.organisms import language
from patchclamp.organisms.planted.cat import ADJECTIVES, ANIMALS

SITE = "blocks.0.mlp.act"


@pytest.fixture(scope="module")
def cat():
    subject = organisms.build("cat")
    return subject, make_evidence(subject, SITE)[0]


def test_planted_rules_are_found_and_the_decoys_are_not(cat):
    found = METHOD(*cat)
    animals, adjectives = (Tokens(tuple(f" {word}" for word in words)).sentence for words in (ANIMALS, ADJECTIVES))
    assert found.description(f"cat/{SITE}/neurons/7").text == 'the token " cat"'
    assert found.description(f"cat/{SITE}/neurons/5").text == animals
    assert found.description(f"cat/{SITE}/neurons/11").text == adjectives
    place = found.index.place(f"cat/{SITE}/neurons/5")
    assert found.measures["top_token"][place] < 0.85 < found.measures["held_out"][place]


def test_one_token_does_not_say_what_a_set_does(cat):
    one = METHOD(*cat, kinds=("token",))
    place = one.index.place(f"cat/{SITE}/neurons/5")
    assert one.measures["held_out"][place] < 0.85


def test_descriptions_name_the_evidence(cat):
    subject, exemplars = cat
    found = METHOD(subject, exemplars)
    assert found.evidence[0] == f"exemplars {exemplars.hash[:16]}"
    assert f"top {(exemplars.kind == KINDS.index('top')).sum():,}" in found.evidence[1]
    assert len(found) == len(exemplars.units)


def test_with_and_without_marks_it_equals_its_oracle(cat):
    subject, exemplars = cat
    unit = exemplars.of_unit(5)
    options = METHOD.make_options({})
    assert METHOD(subject, unit).weights.ravel() == pytest.approx(oracle(subject, unit, options), abs=1e-9)
    bare = replace(unit, marks=None, mark_offsets=None)  # then activations say which tokens are active
    assert METHOD(subject, bare).weights.ravel() == pytest.approx(oracle(subject, bare, options), abs=1e-9)


def test_windows_without_silent_ones_are_refused(cat):
    subject, exemplars = cat
    with pytest.raises(PatchclampError, match="silent"):
        METHOD(subject, exemplars.of_kinds("top", "quantile"))


def test_a_context_is_found_and_its_last_token_alone_is_not():
    """The unit fires on token 2 after token 1, never on token 2 elsewhere, nor on what else comes after token 1."""
    rng, rows, acts = np.random.default_rng(0), [], []
    for row in range(160):
        ids = rng.integers(3, 12, 8)
        ids[4], ids[6] = 2, 1
        ids[3] = 1 if row < 60 else rng.integers(3, 12)
        rows.append(Stimulus.of(ids))
        acts.append(np.where((np.arange(8) == 4) & (row < 60), 2.0, 0.0))
    found = METHOD(Words(), exemplars_of(rows, acts, 60))
    assert found.text(0) == 'the token " two" after " one"'


def test_a_label_is_found_where_many_words_have_it(tmp_path):
    subject = language.build("language-gpt2")
    texts = language.text(500, seed=5)
    acts = [one.where("city").astype(float) for one in texts]
    firing = [i for i, values in enumerate(acts) if values.any()][:60]
    order = [*firing, *[i for i, values in enumerate(acts) if not values.any()][:60]]
    exemplars = exemplars_of([texts[i].stimulus for i in order], [acts[i] for i in order], len(firing))
    file = tmp_path / "text.jsonl"
    file.write_text("\n".join(json.dumps(one.to_json(subject.tokenizer.token)) for one in texts))
    found = METHOD(subject, exemplars, corpus=Corpus(file, kind="documents"))
    assert found.text(0) == 'what is labelled "city"'
    assert found.measures["unlabelled"][0] < found.measures["held_out"][0] == 1
    plain = METHOD(subject, exemplars)
    assert "labelled" not in plain.text(0)
    assert plain.weights[0, 0] == found.measures["unlabelled"][0]
    with pytest.raises(PatchclampError, match="labelled documents"):
        METHOD(subject, exemplars, corpus=Corpus(other_text(tmp_path, texts[:1], subject), kind="documents"))


def other_text(folder, texts, subject):
    (folder / "other.jsonl").write_text(json.dumps(texts[0].to_json(subject.tokenizer.token)))
    return folder / "other.jsonl"


def test_a_channel_is_described_by_the_class_of_its_images():
    from patchclamp.subjects.images import gallery

    subject = organisms.build("digits-cnn")
    shown = gallery("digits:0:120")
    fires = np.array(shown.labels) == 3
    order = np.argsort(~fires, kind="stable")
    site = Site("conv1.act", "channel", 2, places=(2, 2))
    pictures = [Picture.of(np.asarray(shown.read(i).pixels), shown.names[i]) for i in order]
    acts = [np.array([0.0, 1.0, 0.0, 0.0]) * fires[i] for i in order]
    exemplars = exemplars_of(pictures, acts, int(fires.sum()), site)
    found = METHOD(subject, exemplars, corpus=Corpus("digits:0:120", kind="images"))
    assert found.text(0) == f'what is labelled "{subject.answer_name(3)}"'
    assert METHOD(subject, exemplars).text(0) == ""  # an image has no tokens


def test_the_judge_answers_what_is_a_rule_and_nothing_else():
    judge, windows = RuleJudge(), [Window((" a", " cat"), (frozenset(), frozenset({"animal"}))), Window((" a", " dog"))]
    assert isinstance(judge, Judge)
    assert judge.fits('the token " cat"', windows) == [1.0, 0.0]
    assert judge.fits("about animals", windows) == [None, None]
    assert judge.fits('what is labelled "animal"', windows) == [1.0, None]
    marks = [np.array([False, True]), np.array([True, True])]
    assert judge.fits_marked('any token after " a"', windows, marks) == [1.0, 0.0]
    assert judge.fits_marked('the token " cat"', windows, [np.zeros(2, dtype=bool)] * 2) == [None, None]
    assert [list(x) for x in judge.simulate('the token " dog"', windows)] == [[0, 0], [0, 10]]


class Words:
    """A subject that only names its tokens."""

    name, hash, capabilities = "words", "0" * 64, None

    def answer_name(self, index: int) -> str:
        return {1: " one", 2: " two"}.get(index, f" w{index}")


def exemplars_of(shown, acts, n_firing, site=None):
    """Return exemplars of one unit, the first of which show it firing."""
    made = Exemplars.of(
        site or Site(SITE, "mlp.act", 1),
        shown,
        unit=[0] * len(shown),
        value=[float(values.max()) for values in acts],
        position=[int(values.argmax()) for values in acts],
        activations=acts,
    )
    kind = np.where(np.arange(len(shown)) < n_firing, KINDS.index("random"), KINDS.index("silent"))
    return replace(made, kind=kind.astype(np.int8))
