"""A direction tells texts apart that it was not found on, and moves generated text towards its label."""

import numpy as np

from patchclamp.calibrate.figures import Figure, auroc_of, chance_of, exact_figure, null_of, share_of
from patchclamp.calibrate.trials import Trial
from patchclamp.calibrate.truth import LabelledText, PlantedDirections
from patchclamp.control import measure_steering
from patchclamp.core.basis import Basis
from patchclamp.core.estimate import Estimate
from patchclamp.core.matching import recovery
from patchclamp.core.recording import as_numpy
from patchclamp.core.stats import auroc

RANDOM, LENGTH, MULTIPLE = 19, 10, 2.0
"""Random directions, tokens of a continuation, and the strength as a multiple of the distance between the means."""
LEAST_FLUENT = 0.5
"""Share of its likelihood per token that steered text must keep, under the network as it is."""

LEAST_FOUND = 0.8
"""Share of planted directions that must be found, each by a direction of its own with |cos| ≥ 0.9."""


def measure(trial: Trial, noun: Basis) -> list[Figure]:
    """Return how many planted directions were found.

    Of a direction for a label: how it tells held-out labels apart, how the rate of its label rises, what that costs.
    """
    if isinstance(trial.truth, PlantedDirections):
        return [_directions_found(trial, trial.truth, noun)]
    truth, subject = trial.truth, trial.inputs["subject"]
    assert isinstance(truth, LabelledText)
    strength = MULTIPLE * float(noun.provenance.extra.get("distance", 1.0))
    curve = measure_steering(
        subject,
        noun,
        truth.openings,
        truth.wanted,
        truth.read,
        strengths=[0.0, strength],
        n_random=RANDOM,
        max_new_tokens=LENGTH,
        seed=trial.seed,
    )
    written = subject.generate(
        [case.shown for case in truth.started.cases], max_new_tokens=LENGTH, temperature=1.0, seed=trial.seed
    )
    given = [str(case.shown) + one.text for case, one in zip(truth.started.cases, written, strict=True)]
    oracle = share_of(sum(truth.read(text) == truth.wanted for text in given), len(given), curve.rates[1].unit)
    before, after = (one.value for one in curve.perplexities)
    fluent = Estimate(before / after, None, curve.perplexities[1].n, "share of the likelihood per token")
    moved = curve.rates[1]
    return [
        _apart(trial, truth, noun),
        Figure("rate of the label", moved, null_of(moved), oracle, curve.rates[0].high),
        Figure("likelihood that is kept", fluent, None, None, LEAST_FLUENT),
    ]


def _directions_found(trial: Trial, truth: PlantedDirections, noun: Basis) -> Figure:
    """Return the share of planted directions that one of the basis points along, beside as many random directions."""
    assert noun.decoder is not None
    planted, draw = truth.directions, np.random.default_rng(trial.seed)

    def share(found: np.ndarray) -> float:
        return recovery(found, planted)[0]

    own = share_of(round(share(noun.decoder) * len(planted)), len(planted), "share of planted directions")
    random = np.array([share(draw.standard_normal(noun.decoder.shape)) for _ in range(RANDOM)])
    return Figure("planted directions found", own, chance_of(random, own.unit), exact_figure(1.0, own), LEAST_FOUND)


def _apart(trial: Trial, truth: LabelledText, noun: Basis) -> Figure:
    """Return the AUROC of held-out texts along the direction, beside random directions."""
    subject = trial.inputs["subject"]
    assert noun.site is not None
    assert noun.decoder is not None
    recording = subject.run([case.shown for case in truth.held_out.cases], record=[noun.site], logits=False).recording
    rows = [np.asarray(as_numpy(recording.of(noun.site, i)), np.float64) for i in range(len(truth.held_out))]
    means = np.stack([row[1:].mean(0) for row in rows])
    wanted = np.array([case.label == truth.wanted for case in truth.held_out.cases])
    noise = np.random.default_rng(trial.seed).standard_normal((99, means.shape[1]))
    # A random direction may point either way, so that the better of both ways counts.
    random = np.array([max(one, 1 - one) for one in (auroc(means @ direction, wanted) for direction in noise)])
    own = auroc_of(means @ noun.decoder[0].astype(np.float64), wanted, trial.seed)
    return Figure("held-out labels apart", own, chance_of(random, "AUROC"), exact_figure(1.0, own))
