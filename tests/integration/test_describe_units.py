"""Units are described and scored from a text: an atlas's layer, a run that was killed, and what is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import patchclamp as pc
from patchclamp.cli import main
from patchclamp.core.scoring import FailingWindow, ScorerRow, Scoring
from patchclamp.describe.evidence import EvidenceOptions
from patchclamp.describe.judges.rule import RuleJudge
from seeded import ANIMAL, CAT, DECOY, SITE

KEY = f"{SITE}/neurons/{CAT}"


@pytest.fixture(scope="module")
def described(seeded_atlas, tmp_path_factory) -> Path:
    """A copy of the seeded atlas whose units were described by the command."""
    place = tmp_path_factory.mktemp("described") / "seeded.atlas"
    shutil.copytree(seeded_atlas, place)
    assert main(["describe", str(place), "--quiet"]) == 0
    return place


def rule_of(atlas: Path, key: str):
    return next(one for one in pc.atlas.open(atlas).unit(key).descriptions if one.author.startswith("rule/mined"))


def test_the_planted_unit_is_described_and_holds(described):
    found = rule_of(described, KEY)
    assert found.text == 'the token " cat"'
    scores = {one.unit: one for one in found.scores}
    assert scores["detection: balanced accuracy"].value == 1.0
    assert scores["detection: balanced accuracy"].null_low == 0.5
    animals = 'a token among " cat", " dog", " fox", " horse", " mouse", " rabbit"'
    assert rule_of(described, f"{SITE}/neurons/{ANIMAL}").text == animals


def test_scores_stand_beside_shuffled_and_random_descriptions(described):
    page = pc.atlas.open(described).trust()
    method = next(one for one in page.methods if one.author.startswith("rule/mined"))
    [detection] = [one for one in method.measures if one.measure == "detection: balanced accuracy"]
    assert detection.described.value > 0.9
    assert abs(detection.shuffled.value - 0.5) < 0.15
    assert abs(detection.random.value - 0.5) < 0.15
    assert detection.missing == 0
    assert sum(one.units for one in method.failed) + method.units == page.n_units


def test_words_find_the_unit(described):
    rows = pc.atlas.open(described).find(pc.atlas.Asked("token cat", score=(0.8, None))).rows
    assert f"cat/{KEY}" in [row.key for row in rows]
    assert all(row.description for row in rows)


def test_a_killed_run_goes_on_to_the_same_layer(described, seeded_atlas, cat, tmp_path, monkeypatch):
    place = tmp_path / "seeded.atlas"
    shutil.copytree(seeded_atlas, place)
    asked, fits = [], RuleJudge.fits

    def count(self, description, windows):
        asked.append(description)
        return fits(self, description, windows)

    def kill(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(RuleJudge, "fits", count)
    with monkeypatch.context() as stopped:
        stopped.setattr("patchclamp.atlas.description_layer.write_described", kill)
        with pytest.raises(KeyboardInterrupt):
            pc.atlas.describe(place, cat)
    paid = len(asked)
    with pytest.raises(pc.PatchclampError, match="interrupted"):
        pc.atlas.describe(place, cat)
    layer = pc.atlas.describe(place, cat, resume=True)
    assert paid > 0
    assert len(asked) == paid, "what was scored is not scored again"
    [same] = described.glob(f"layers/{layer}.sqlite")
    assert same.read_bytes() == (place / "layers" / same.name).read_bytes()
    assert not place.with_name("seeded.atlas.describing").exists()


def test_units_are_chosen_and_strange_ones_refused_before_any_work(seeded_atlas, cat):
    plan = pc.atlas.plan_description(seeded_atlas, cat, units=f"{SITE},{KEY}")
    assert plan.units == 16
    for strange in ("blocks.9.mlp.act", "blocks.0.attn.z/heads/400", f"{SITE}/heads"):
        with pytest.raises(pc.PatchclampError):
            pc.atlas.plan_description(seeded_atlas, cat, units=[strange])


def test_the_windows_that_words_get_wrong_are_shown_with_what_is_wrong(seeded_atlas, tmp_path):
    place = tmp_path / "seeded.atlas"
    shutil.copytree(seeded_atlas, place)
    unit = pc.atlas.open(place).reading.key(pc.atlas.open(place).reading.index_of(KEY))
    window = FailingWindow(np.array([3, 4, 5]), np.array([0.0, 2.5, 0.0]), 1, 12, 0, "fires, yet not described")
    words = pc.Description(unit, 'the token " dog"', "rule/mined 1")
    scored = Scoring("rule", (ScorerRow("detection", "rule", pc.Estimate(0.5, None, 1, "balanced accuracy")),))
    pc.atlas.write_descriptions(place, [words], failures={KEY: [window]}, scoring=scored)
    atlas = pc.atlas.open(place)
    assert next(one for one in atlas.unit(KEY).descriptions if one.text == words.text).fails_on == 1
    first = atlas.examples(KEY, "counter").examples[0]
    assert (first.ids, first.mark, first.value, first.reason) == ([3, 4, 5], 1, 2.5, "fires, yet not described")


def test_evaluate_prints_coverage_distribution_cost_and_failures(described, capsys):
    assert main(["evaluate", str(described), "--json"]) == 0
    page = json.loads(capsys.readouterr().out)
    assert page["n_scored"] <= page["n_described"] <= page["n_units"]
    assert [one["key"] for one in page["failing"]] == [f"cat/{SITE}/neurons/{DECOY}"]
    method = next(one for one in page["methods"] if one["author"].startswith("rule/mined"))
    assert all(len(one["quantiles"]) == 5 for one in method["measures"])
    assert main(["evaluate", str(described)]) == 0
    assert "fires on adjectives" in capsys.readouterr().out, "the description that is wrong on purpose"


@pytest.mark.parametrize(
    "words",
    [["--method", "vocabulary"], ["--scorers", "nobody"], ["--units", "nowhere"], ["--out", "x"], ["--window", "1"]],
)
def test_what_an_atlas_cannot_do_is_refused(seeded_atlas, words, capsys):
    assert main(["describe", str(seeded_atlas), *words]) == 2
    assert "to do" in capsys.readouterr().err


def test_a_model_takes_no_options_of_atlases_and_writes_a_table(tmp_path, capsys):
    assert main(["describe", "organism:cat", "--scorers", "detection"]) == 2
    out = tmp_path / "words.parquet"
    assert main(["describe", "organism:cat", "--out", str(out), "--quiet"]) == 0
    table = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow, which reads Parquet").read_table(out)
    assert table.num_rows == 32
    assert {"unit", "key", "description", "peak"} <= set(table.column_names)


def test_a_language_model_describes_and_judges_and_is_paid_once(seeded_atlas, cat, language_model, tmp_path):
    place = tmp_path / "seeded.atlas"
    shutil.copytree(seeded_atlas, place)
    before = language_model.counts().get("rule-of-pages", 0)
    asked = {"base_url": language_model.address, "llm": "rule-of-pages", "method": "llm", "units": [KEY]}
    how = {**asked, "evidence": EvidenceOptions(n_train=5, n_test=10, n_negative=10), "scorers": ["detection"]}
    layer = pc.atlas.describe(place, cat, **how)
    [method] = [one for one in pc.atlas.open(place).trust(run=layer).methods if one.run == layer]
    [detection] = [one for one in method.measures if one.measure == "detection: balanced accuracy"]
    assert (detection.judge, detection.described.value) == ("llm/rule-of-pages", 1.0)
    assert method.calls == 1
    assert method.tokens > 0
    assert language_model.counts()["rule-of-pages"] - before > 1


def test_a_budget_that_does_not_suffice_is_refused_before_anything_is_paid(seeded_atlas, cat, language_model, tmp_path):
    place = tmp_path / "seeded.atlas"
    shutil.copytree(seeded_atlas, place)
    before = language_model.counts()
    asked = {"base_url": language_model.address, "llm": "rule-of-budgets", "method": "llm", "units": [KEY]}
    with pytest.raises(pc.PatchclampError, match="budget"):
        pc.atlas.describe(place, cat, budget_tokens=10, **asked)
    assert language_model.counts() == before


def test_fuzzing_of_drawn_evidence_gives_chance_to_words_that_know_nothing(described):
    method = next(one for one in pc.atlas.open(described).trust().methods if one.author.startswith("rule/mined"))
    [fuzzing] = [one for one in method.measures if one.measure == "fuzzing: balanced accuracy"]
    assert fuzzing.described.value > 0.9
    assert abs(fuzzing.random.value - 0.5) < 0.1
