"""How often a network of judges that see each other's reviews prefers the answer that should win (WideDeep)."""

from dataclasses import dataclass

import numpy as np

from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import Estimate
from patchclamp.core.method import Cost, Method, Paper, Sizes
from patchclamp.core.stats import Interval, mean_interval
from patchclamp.core.subject import Progress
from patchclamp.core.task import Case, Task
from patchclamp.describe.panel import PairJudge, PanelOptions, Verdict, judge_pair

DRAWS = 999
WORTH = {"first": 1.0, "tie": 0.5, "second": 0.0}


@dataclass(frozen=True)
class WideDeepOptions(PanelOptions):
    """Options of WideDeep judges."""


def wide_deep(
    subject: PairJudge, task: Task, options: WideDeepOptions, *, seed: int = 0, progress: Progress
) -> Estimate:
    r"""Measure how often a panel of judges prefers each case's target over its contrast.

    The value is the mean over cases of 1 where the target's score is higher by more than epsilon, 0 where the
    contrast's is, and 1/2 for a tie. Cases of which no answer could be read in both orders are left out: ``n`` counts
    the others. The null exchanges target and contrast of random cases.

    Args:
        subject: the judge who takes all perspectives.
        task: questions, each with a target that should win and a contrast that should lose.
        options: perspectives, rounds, neighbours, what counts, ties.
        seed: of the draws and of the interval.
        progress: called with cases done and in all.

    Returns:
        Estimate: a share of cases; nan without an answer that could be read. The interval resamples cases.

    Raises:
        PatchclampError: a case that is not shown as text, or has not one target and one contrast.

    Source: 2308.01862 and its code (AlibabaResearch/DAMO-ConvAI, WideDeep). Departs from it in ties within epsilon, in
    answers that are missing (there 0 for both, which are ties), and in one verdict per pair read from both orders.

    Cost: 2 · rounds · perspectives calls of the judge per case, and one more where it proposes perspectives.

    Example:
        >>> from patchclamp.organisms.judges import make
        >>> planted = make("judges-independent", n_cases=8)
        >>> METHOD(planted.judge, planted.task, epsilon=0.0).n
        8
    """
    questions = [_check(case) for case in task.cases]
    worth = []
    for done, (question, case) in enumerate(zip(questions, task.cases, strict=True)):
        verdict: Verdict = judge_pair(subject, question, case.targets[0], case.contrasts[0], options)
        if verdict.winner:
            worth.append(WORTH[verdict.winner])
        progress(done + 1, len(questions))
    unit = "share of cases"
    if not worth:
        return Estimate(float("nan"), None, 0, unit)
    values = np.array(worth)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], (DRAWS, len(values)))
    null = 0.5 + (signs * (values - 0.5)).mean(1)
    low, high = np.quantile(null, [0.025, 0.975])
    p = float((1 + (null >= values.mean() - 1e-12).sum()) / (1 + DRAWS))
    around = Interval(float(low), float(high), 0.95, f"{DRAWS} draws of which answer is the target")
    return Estimate(float(values.mean()), mean_interval(values, seed=seed), len(values), unit, around, p, 1.0)


def _check(case: Case) -> str:
    if not isinstance(case.shown, str) or len(case.targets) != 1 or len(case.contrasts) != 1:
        raise PatchclampError(
            expected="questions as text, each with one target and one contrast",
            got=f"{len(case.targets)} targets and {len(case.contrasts)} contrasts of a {type(case.shown).__name__}",
            remedy="Task.of(question, better, contrast=worse) makes one.",
        )
    return case.shown


def _cost(_sizes: Sizes, _options: WideDeepOptions) -> Cost:
    return Cost()


METHOD = Method(
    wide_deep,
    name="wide_deep",
    room="describe",
    kind="benchmark",
    title="WideDeep judges: a network of judges of two answers",
    question="Which of two answers is better, by judges who see each other's reviews?",
    papers=(Paper("2308.01862"),),
    cost=_cost,
    oracle="oracles.wide_deep:wide_deep",
    calibrated_on=("judges-independent",),
    must_show="judges who prefer whatever is shown first, by more than answers differ, still find the better answer",
    must_miss={"judges-copied": "what all perspectives get wrong together no panel averages away"},
    sources=("describe/panel.py",),
)
