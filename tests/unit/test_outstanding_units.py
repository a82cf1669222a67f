"""The units that a survey names: those that rise highest above their own mean."""

import numpy as np
import pytest

import patchclamp as pc
from patchclamp.cli import main

SITE = "blocks.0.mlp.act"


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    folder = tmp_path_factory.mktemp("survey")
    text = folder / "text.txt"
    text.write_text("the old cat sat on the mat.\nthe dog ran to the park.\n" * 8)
    model = pc.load("organism:cat")
    stored = pc.survey(model, text, SITE, folder / "survey")
    recording = pc.record(model, text, SITE, folder / "recording")
    return folder / "survey", stored, recording


def test_they_are_the_highest_in_standard_deviations(survey):
    _, stored, recording = survey
    values = np.concatenate([np.asarray(recording.of(SITE, i)) for i in range(recording.n_stimuli)])
    deviation = values.std(0)
    rise = np.where(deviation > 0, (values.max(0) - values.mean(0)) / np.where(deviation > 0, deviation, 1), -np.inf)
    named = [int(row["key"].rpartition("/")[2]) for row in stored.stand_out(5)]
    assert [rise[unit] for unit in named] == pytest.approx(sorted(rise, reverse=True)[: len(named)], rel=1e-2)


def test_a_unit_that_never_changes_is_not_named(survey):
    _, stored, _ = survey
    changing = int((np.asarray(stored.statistics(SITE)["variance"]) > 0).sum())
    assert len(stored.stand_out(10_000)) == changing < stored.sites[SITE].width


def test_info_of_a_survey_prints_units_in_words(survey, capsys):
    assert main(["info", str(survey[0])]) == 0
    assert "Block 0 · MLP neuron 7" in capsys.readouterr().out
