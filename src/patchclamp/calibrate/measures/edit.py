"""The new answer is given, on paraphrases too, and other answers stay."""

from patchclamp.calibrate.figures import Figure, exact_figure, null_of
from patchclamp.calibrate.trials import Trial
from patchclamp.calibrate.truth import RewrittenFact
from patchclamp.control import measure_edit
from patchclamp.core.edit import Edit

RANDOM = 19
LEAST_PARAPHRASES, LEAST_KEPT = 0.75, 0.9


def measure(trial: Trial, noun: Edit) -> list[Figure]:
    """Return efficacy, paraphrases and specificity of an edit, beside random edits of the same norm."""
    truth, task = trial.truth, trial.inputs["task"]
    assert isinstance(truth, RewrittenFact)
    effects = measure_edit(
        trial.inputs["subject"], noun, task, truth.paraphrases, truth.others, n_random=RANDOM, seed=trial.seed
    )
    figures = [
        Figure(name, own, null_of(own), exact_figure(1.0, own), least)
        for name, own, least in (
            ("new answer", effects.efficacy, 1.0),
            ("new answer on paraphrases", effects.paraphrase, LEAST_PARAPHRASES),
        )
    ]
    # A random edit leaves other answers alone as well, so that chance is no bar there.
    return [*figures, Figure("other answers kept", effects.specificity, None, None, LEAST_KEPT)]
