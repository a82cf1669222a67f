"""The statistics and exemplars of a text's survey, over stretches of time."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.provenance import read_versions
from patchclamp.core.stimulus import Stimulus
from patchclamp.core.survey import StoredSurvey
from patchclamp.record.run import open_run, pin_threads, refuse_if_too_large
from patchclamp.record.survey import State, commit_results, memory_bytes
from patchclamp.subjects.neural import SITE, NeuralRecording


@checked
def survey_recording(
    recording: NeuralRecording, out: str | Path, *, window: int = 128, seed: Natural = 0, resume: bool = False
) -> StoredSurvey:
    """Survey every unit of a recorded brain: statistics, and its highest moments as exemplars.

    Trials are cut into stretches of ``window`` samples; a unit's 16 top exemplars are the highest samples of as many
    stretches, so they are different moments. Sample numbers stand where a text has token ids: ``recording.when`` turns
    ``exemplar.ids[exemplar.position]`` into trial and seconds. Statistics are those of ``survey_corpus``, in float32
    with sums in float64; a unit that lacks samples has NaN for mean and variance, its missing samples are counted.

    Args:
        recording: the brain.
        out: a new or empty folder.
        window: samples per stretch.
        seed: of the sample of 1,000 moments on which quantiles rest.
        resume: accept a folder that holds this survey, whole or interrupted.

    Returns:
        StoredSurvey: the folder, opened; its manifest keeps measure, rate, start and names.

    Raises:
        PatchclampError: no room, a folder in use, or a window that is none.

    Cost: some seven passes over the values; and about 5 kB of memory per unit.

    Example:
        >>> import tempfile
        >>> brain = NeuralRecording(np.sin(np.arange(600.0))[None, :, None], rate=10.0)
        >>> survey = survey_recording(brain, Path(tempfile.mkdtemp()) / "survey")
        >>> best = survey.exemplars("recording", 0, kinds=["top"])[0]
        >>> brain.when(best.ids[best.position])
        (0, 36.6)
    """
    if not 1 <= window < 2**31:
        raise PatchclampError(
            expected="a window of at least 1 sample", got=str(window), remedy="Give another --window."
        )
    sites = recording.sites()
    refuse_if_too_large(out, 2 * memory_bytes(sites))
    per_trial = -(-recording.n_samples // window)
    plan = {
        "window": window,
        "rate": recording.rate,
        "start": recording.start,
        "n_trials": recording.n_trials,
        "n_samples": recording.n_samples,
        "n_stimuli": per_trial * recording.n_trials,
        "n_tokens": recording.n_trials * recording.n_samples,
        "threads": torch.get_num_threads(),
        "seed": seed,
    }
    manifest = {
        "subject": {
            "slug": recording.name,
            "hash": recording.hash,
            "class": type(recording).__name__,
            "dtype": str(recording.values.dtype),
            "measure": recording.measure,
            "names": ", ".join(recording.names),
        },
        "sites": [site.to_json() for site in sites],
        "plan": plan,
        "versions": read_versions("patchclamp", "torch"),
    }
    with open_run(out, "survey", manifest, resume=resume) as bundle:
        if not bundle.whole:
            with pin_threads(bundle):
                state = State(
                    sites,
                    seed,
                    n_stimuli=per_trial * recording.n_trials,
                    n_counted=recording.n_trials * recording.n_samples,
                )
                for trial, stretches in enumerate(_stretches(recording, window)):
                    state.begin(stretches)
                    state.see(SITE, torch.from_numpy(recording.values[trial].astype(np.float32)))
                commit_results(bundle, state, _stretches(recording, window))
                bundle.finish(stimuli=state.start.stimuli, tokens=state.start.tokens, counted=state.counted)
    return StoredSurvey(out)


def _stretches(recording: NeuralRecording, window: int) -> Iterator[list[Stimulus]]:
    """Yield each trial's stretches; ids are sample numbers."""
    for trial in range(recording.n_trials):
        samples = trial * recording.n_samples + np.arange(recording.n_samples, dtype=np.int64)
        yield [Stimulus.of(samples[a : a + window]) for a in range(0, len(samples), window)]
