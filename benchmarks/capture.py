"""Capture: what recording and surveying cost beside the bare forward pass.

Bare is the base model alone, without the unembedding that neither needs. Recording keeps the residual stream and both
writes of all 12 blocks, as float16, on disk: hashed, flushed and resumable. A survey keeps statistics and exemplars of
all 36,864 MLP neurons; its result takes a second or two to sort whatever the text's length, so its cost per further
token is shown too, from a short and a long survey.
"""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import shape
import timing
import torch

from patchclamp.record import Plan, make_plan, record_text, survey_text

WINDOW, BATCH = 128, 8
ACTS = "blocks.*.mlp.act"


def main() -> None:
    parser = timing.parser(__doc__)
    parser.add_argument("--batches", type=int, default=6, help="batches of 8 x 128 tokens")
    options = parser.parse_args()
    rounds, n_batches = (1, 2) if options.quick else (options.rounds, options.batches)
    torch.set_num_threads(options.threads)
    model = shape.subject()
    n_tokens = n_batches * BATCH * WINDOW
    with tempfile.TemporaryDirectory() as folder:
        measures = measure(model, Path(folder), n_tokens, rounds)
    base = measures["bare forward"]
    short = measures.pop("half survey")
    rows = []
    for name, spent in measures.items():
        middle, times = timing.median(spent), timing.ratio(spent, base)
        rows.append([name, f"{n_tokens / middle.wall_s:.0f}", f"{n_tokens / middle.cpu_s:.0f}",
                     f"{1 / times.wall_s:.2f}", f"{1 / times.cpu_s:.2f}", f"{times.wall_s:.2f}", f"{times.cpu_s:.2f}"])  # fmt: skip
    print(f"{n_tokens} tokens, {rounds} rounds; speed and time as a share of the bare forward pass")
    timing.show(["", "tokens/s", "tokens/cpu-s", "speed, wall", "speed, cpu", "time, wall", "time, cpu"], rows)
    further = [
        timing.Spent((whole.wall_s - half.wall_s) / (b.wall_s / 2), (whole.cpu_s - half.cpu_s) / (b.cpu_s / 2))
        for whole, half, b in zip(measures["survey, 12 sites"], short, base, strict=True)
    ]
    per_token = timing.median(further)
    print(f"survey, further tokens: {per_token.wall_s:.2f} x bare (wall), {per_token.cpu_s:.2f} x (cpu)")
    recording = timing.ratio(base, measures["record, 36 sites"])
    surveying = timing.ratio(measures["survey, 12 sites"], base)
    bars = [
        ("record: share of the bare forward's speed, wall", recording.wall_s, ">=", 0.85),
        ("record: the same, cpu", recording.cpu_s, ">=", 0.85),
        ("survey: time x bare forward, wall", surveying.wall_s, "<=", 1.35),
        ("survey: the same, cpu", surveying.cpu_s, "<=", 1.35),
    ]
    timing.report(options, {"tokens": n_tokens, **measures, "survey per further token": per_token}, bars)


def measure(model: shape.LanguageModel, folder: Path, n_tokens: int, rounds: int) -> dict[str, list[timing.Spent]]:
    text = shape.write_text(folder / "text.txt", n_tokens)
    half = shape.write_text(folder / "half.txt", n_tokens // 2)
    plan, half_plan = (make_plan(model, t, window=WINDOW, batch_size=BATCH) for t in (text, half))
    assert plan.n_tokens == n_tokens
    shown = [shape.ids(BATCH, WINDOW, seed=i) for i in range(n_tokens // (BATCH * WINDOW))]
    out = folder / "out"

    def bare() -> None:
        with torch.no_grad():
            for ids in shown:
                model.module.transformer(input_ids=ids, use_cache=False)

    def record(made: Plan | None) -> Callable[[], timing.Spent]:
        def run() -> None:
            record_text(model, text, shape.SITES, out, window=WINDOW, batch_size=BATCH, store="float16", plan=made)

        return lambda: cleared(run, out)

    def survey(text: Path, made: Plan) -> Callable[[], timing.Spent]:
        return lambda: cleared(lambda: survey_text(model, text, ACTS, out, plan=made), out)

    # The first use of everything, the model's hash included, is not what is measured.
    timing.alternate({"record": record(plan), "survey": survey(half, half_plan)}, 1)
    tasks = {
        "bare forward": bare,
        "record, 36 sites": record(plan),
        "record, with planning": record(None),
        "survey, 12 sites": survey(text, plan),
        "half survey": survey(half, half_plan),
    }
    return timing.alternate(tasks, rounds)


def cleared(task: Callable[[], object], out: Path) -> timing.Spent:
    """Time a task, not the removal of what it wrote."""
    spent = timing.spend(task)
    shutil.rmtree(out)
    return spent


if __name__ == "__main__":
    main()
