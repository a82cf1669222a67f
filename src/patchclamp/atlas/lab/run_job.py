"""One run of the lab, from its request to its last event."""

from collections.abc import Callable
from typing import Any

from patchclamp.atlas.lab import messages
from patchclamp.atlas.lab.clamps import check_clamps, interventions, on_prompt
from patchclamp.atlas.lab.export import as_command, as_python
from patchclamp.atlas.lab.job_queue import Job
from patchclamp.atlas.lab.next_token import Ranges, continue_both, read_at, tabulate, unit_of
from patchclamp.atlas.read.reader import NotFound, Reading
from patchclamp.core.errors import PatchclampError
from patchclamp.core.unit import UnitKey
from patchclamp.subjects.generation import check_request


def prepare(lab: Any, atlas: Reading, asked: messages.RunAsked) -> Callable[[Job], None]:
    """Check a question, and return what answers it.

    Args:
        lab: the model's lab.
        atlas: its atlas.
        asked: the question.

    Returns:
        Callable[[Job], None]: runs on the worker and sends its events to the job.

    Raises:
        NotFound: a clamp names a unit that the model has not.
        PatchclampError: a text that does not fit, positions that are none, or a model that does not continue text.
    """
    model = lab.model
    stimulus = lab.cut(asked.text)
    other = lab.cut(asked.other) if asked.other else None
    keys = check_clamps(model, atlas, asked.clamps, len(stimulus), None if other is None else len(other))
    place = read_at(model, stimulus)
    if asked.new_tokens:
        model.require("generate")
        check_request(len(stimulus), model.context, asked.new_tokens, 0.0)
    if asked.target is not None and asked.target >= model.n_answers:
        raise PatchclampError(
            expected=f"a token below {model.n_answers}", got=str(asked.target), remedy="Choose a row of the table."
        )
    id, ranges = lab.id_of(asked), _ranges(atlas, keys)

    def work(job: Job) -> None:
        seen: dict[str, Any] = {"table": None, "steps": [], "control": None, "finished": None}
        try:
            answer(job, seen)
        finally:
            lab.keep(messages.LabRun(id, asked, **seen))

    def answer(job: Job, seen: dict[str, Any]) -> None:
        sites = list(dict.fromkeys(UnitKey.parse(clamp.key).site for clamp in asked.clamps if clamp.mode == "patch"))
        recording = None
        if other is not None and sites:
            with job.turn():
                recording = model.run(other, record=sites, logits=False).recording
        changes = interventions(model, atlas, asked.clamps, recording)
        on = [change for _, change in changes]
        now = [own for change in on if (own := on_prompt(change)) is not None]
        units = list(dict.fromkeys(map(unit_of, on)))
        unclamped = lab.unclamped_runs.of(model, stimulus, units, job.turn)
        table, logits = tabulate(
            model,
            stimulus,
            changes,
            unclamped,
            top=asked.top,
            ranges=ranges,
            spell=lab.spell,
            turn=job.turn,
            clock=lambda: job.seconds,
        )
        seen["table"] = table
        job.tell(table)
        if asked.new_tokens:
            written = continue_both(model, stimulus, on, unclamped, new_tokens=asked.new_tokens, turn=job.turn)
            for number, pair in enumerate(written):
                left, right = (None if token is None else lab.spell(token) for token in pair)
                seen["steps"].append(messages.Step(number, left, right))
                job.tell(seen["steps"][-1])
        target = asked.target if asked.target is not None else int(unclamped.logits.argmax())
        # Where nothing is clamped there is nothing to compare.
        if asked.controls and now:
            from patchclamp.atlas.lab.random_controls import compare

            effect = float(logits.log_softmax(-1)[target] - unclamped.logits.log_softmax(-1)[target])
            seen["control"] = compare(
                model,
                stimulus,
                now,
                target=target,
                n_sets=asked.controls,
                seed=asked.seed,
                measured=effect,
                spell=lab.spell,
                turn=job.turn,
                progress=lambda done, n: job.tell(messages.Progressed(done, n)),
            )
            job.tell(seen["control"])
        python = as_python(
            lab.loading,
            asked.text,
            on,
            now,
            read_at=place,
            top=asked.top,
            new_tokens=asked.new_tokens,
            target=target,
            controls=asked.controls if now else 0,
            seed=asked.seed,
            atlas=str(atlas.folder),
            other=asked.other,
        )
        generates = model.capabilities.generate
        command = as_command(lab.loading_words, asked.text, on, asked.new_tokens) if generates else ""
        seen["finished"] = messages.Finished(id, job.seconds, python, command)
        job.tell(seen["finished"])

    return work


def _ranges(atlas: Reading, keys: list[str]) -> Ranges:
    """Return the lowest and highest value that the atlas saw of each unit that it has."""
    ranges: Ranges = {}
    for key in dict.fromkeys(keys):
        try:
            unit = atlas.index_of(key)
        except NotFound:  # a head, or a site that was not baked
            continue
        low, high = atlas.row(unit, "minimum", "maximum")
        ranges[key] = (low, high)
    return ranges
