"""Edit one fact by a change of rank one (ROME): a down projection learns one more key and value."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from jaxtyping import Float

from patchclamp.control.facts import key_site, only_fact
from patchclamp.core.checks import same_subject
from patchclamp.core.edit import Edit
from patchclamp.core.errors import PatchclampError
from patchclamp.core.intervention import Intervention, change
from patchclamp.core.method import Cost, Method, Paper, Sizes
from patchclamp.core.metric import EachMetric, Metric
from patchclamp.core.options import option
from patchclamp.core.provenance import Provenance
from patchclamp.core.recording import Recording, as_numpy
from patchclamp.core.subject import Progress
from patchclamp.core.task import Task
from patchclamp.subjects.protocols import Differentiates, ReadsText, Weights


class Editable(Differentiates, Weights, ReadsText, Protocol):
    """It reads text, has gradients, and its weights can be read."""


@dataclass(frozen=True)
class RankOneOptions:
    """Options of the rank-one edit."""

    layer: int | None = option(None, "block whose MLP is edited; a quarter of the way up by default", least=0)
    position: Literal["subject", "last"] = option("subject", "token that looks the fact up: subject's or prompt's last")
    n_prefixes: int = option(8, "beginnings of the text that are put before the prompt", least=0, most=100)
    prefix_tokens: int = option(20, "most tokens of such a beginning", least=1)
    steps: int = option(40, "most steps of Adam for the value", least=1, most=1000)
    learning_rate: float = option(0.2, "step, as a share of the root mean square of what the MLP writes", least=0)
    kl: float = option(0.0625, "weight of the divergence on '{subject} is a'", least=0)
    weight_decay: float = option(0.02, "weight of the squared length of the change beside the value's", least=0)
    largest: float = option(10.0, "longest change of the value, in lengths of the value", least=0)
    enough: float = option(0.05, "nats of the new answer at which the search stops", least=0)


def rank_one(
    subject: Editable, task: Task, text: Recording, options: RankOneOptions, *, seed: int = 0, progress: Progress
) -> Edit:
    r"""Return the rank-one change of one MLP's down projection W under which a prompt has a new answer.

    W′ = W + (v* − W k*) (C⁻¹ k*)ᵀ / (k*ᵀ C⁻¹ k*), C = mean of k kᵀ over the text's tokens that count. k* is the
    mean key at one token of the prompt after each prefix. v* = W k* + δ, δ found by Adam so that
    mean_prefixes −log P(answer | prefix, prompt) + kl · KL(P ‖ P_δ on "{subject} is a") + decay · ‖δ‖² / ‖v‖² is
    least, v the mean of what the MLP writes there.

    The paper's token is the subject's last. A network that looks a fact up at the prompt's last token, as the language
    organisms do, cannot be edited there: swap activity between two subjects' prompts to see where it lies. Prefixes are
    texts of the recording, where the paper samples them from the model; steps are measured in the value's own size.

    Args:
        subject: whose weights; they stay as they are.
        task: one case: prompt, new answer of one token, and the part ``subject``.
        text: activity at ``blocks.L.mlp.act`` over ordinary text, of more tokens than there are neurons.
        options: layer, token, and how the value is found.
        seed: of nothing; there is nothing random.
        progress: called with steps done and most steps.

    Returns:
        Edit: of one parameter.

    Raises:
        PatchclampError: another number of cases, an answer of several tokens, a prompt without its subject, a recording
            of another subject or without the site, too little text, or no such block.

    Source: Meng, Bau, Andonian & Belinkov (2022), Locating and Editing Factual Associations in GPT.

    Cost: steps · (prefixes + 2) forward and backward passes, and O(neurons³) once.
    """
    case, about, answer = only_fact(subject, task)
    act = key_site(subject, options.layer)
    layer = int(act.split(".")[1])
    write = f"blocks.{layer}.mlp.write"
    linear = subject.reader(act)
    covariance = _covariance(subject, text, act)
    prefixes = ["", *_prefixes(text, options)]
    texts = [(prefix + str(case.shown), len(prefix) + about.stop) for prefix in prefixes]
    texts.append((f"{str(case.shown)[about.start : about.stop]} is a", about.stop - about.start))
    shown = subject.stimuli([one for one, _ in texts])
    last = options.position == "last"
    at = [-1 if last else _token_at(one, stop) - len(one) for one, (_, stop) in zip(shown, texts, strict=True)]
    held = subject.run(shown, record=[act, write], logits=[-1])
    keys, values = (_rows(held.recording, site, at)[:-1] for site in (act, write))
    before = tuple(np.asarray(as_numpy(held.logits[-1, 0]), dtype=np.float64).tolist())
    metric = EachMetric((*[Metric("log_probability", answer)] * len(prefixes), Metric("kl", reference=before)))
    delta, nats = _find_change(subject, shown, at, write, metric, values.mean(0), options, progress)
    key = keys.mean(0)
    solved = np.linalg.solve(covariance, key)
    change_of = np.outer(delta, solved) / (key @ solved)
    told = {"layer": layer, "nats": nats, "length": float(np.linalg.norm(delta)), "prefixes": len(prefixes) - 1}
    return Edit(
        {linear.parameter: (change_of.T if linear.transposed else change_of).astype(np.float32)},
        subject.hash,
        f"{case.shown}{case.targets[0]}",
        Provenance(extra=told),
    )


def _covariance(subject: Editable, text: Recording, site: str) -> Float[np.ndarray, "neuron neuron"]:
    """Return C, the mean of k kᵀ over the tokens that count."""
    remedy = f"Record {site} of this subject over a few hundred ordinary texts."
    same_subject(subject, text, what="a recording", remedy=remedy)
    if site not in text.values:
        raise PatchclampError(
            expected=f"a recording at {site}", got=f"one at {', '.join(list(text.values)[:4])}", remedy=remedy
        )
    rows = np.asarray(as_numpy(text[site]), dtype=np.float64)[text.counted]
    matrix: np.ndarray = rows.T @ rows / max(len(rows), 1)
    if len(rows) < len(matrix) or np.linalg.matrix_rank(matrix, hermitian=True) < len(matrix):
        raise PatchclampError(
            expected=f"text whose keys span all {len(matrix)} neurons",
            got=f"{len(rows)} tokens that do not",
            remedy="Record more, and more different text.",
        )
    return matrix


def _prefixes(text: Recording, options: RankOneOptions) -> list[str]:
    """Return the first texts of the recording that are short enough, each with a space after it."""
    short = (getattr(one, "text", None) for one in text.stimuli if len(one) <= options.prefix_tokens)
    return [f"{one} " for one in short if one][: options.n_prefixes]


def _token_at(stimulus: Any, stop: int) -> int:
    """Return the last token that begins before a character."""
    return int(max(i for i, (first, _) in enumerate(stimulus.spans) if 0 <= first < stop))


def _rows(recording: Recording, site: str, at: Sequence[int]) -> Float[np.ndarray, "prompt width"]:
    """Return one token's values of every stimulus; places count from the end."""
    parts = [recording.of(site, i)[place] for i, place in enumerate(at)]
    return np.stack([np.asarray(as_numpy(part), dtype=np.float64) for part in parts])


def _find_change(
    subject: Editable,
    shown: Sequence[Any],
    at: Sequence[int],
    site: str,
    metric: EachMetric,
    value: Float[np.ndarray, " width"],
    options: RankOneOptions,
    progress: Progress,
) -> tuple[Float[np.ndarray, " width"], float]:
    """Return δ by Adam, and the nats of the answer under it."""
    size = float(np.linalg.norm(value))
    rate = options.learning_rate * size / np.sqrt(len(value))
    delta, first, second = (np.zeros_like(value) for _ in range(3))
    nats = np.inf
    for step in range(1, options.steps + 1):
        added: dict[int, list[Intervention]] = {
            place: [change("add", site, value=delta, at=place)] for place in dict.fromkeys(at)
        }
        run = subject.differentiate(shown, metric, [site], interventions=[added[place] for place in at])
        nats = -float(run.metric[:-1].mean())
        progress(step, options.steps)
        if nats < options.enough or step == options.steps:
            break
        gradients = _rows(run.gradients, site, at)
        slope = options.kl * gradients[-1] - gradients[:-1].mean(0) + 2 * options.weight_decay * delta / size**2
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        delta = delta - rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        delta = delta * min(1.0, options.largest * size / max(float(np.linalg.norm(delta)), 1e-30))
    return delta, nats


def _cost(sizes: Sizes, options: RankOneOptions) -> Cost:
    passes = options.steps * (options.n_prefixes + 2)
    return Cost(forward=passes, backward=passes, bytes=16 * sizes.units**2)


METHOD = Method(
    rank_one,
    name="rank_one",
    room="control",
    title="rank-one edit of one fact (ROME)",
    question="Which smallest change of one weight matrix makes a network answer one fact otherwise?",
    papers=(Paper("2202.05262", equation="2 to 4"),),
    cost=_cost,
    oracle="oracles.rank_one:rank_one",
    calibrated_on=("language-gpt2", "language-llama"),
    must_show="edited at the prompt's last token, where these networks look facts up, the country of a city changes on "
    "the prompt and on most paraphrases, other facts stay, and a random edit of the same norm does nothing",
    must_miss={
        "language-*:lives": "at the subject's last token nothing is looked up: that is done at the prompt's last"
    },
    options_at={"language-*": {"position": "last"}, "language-*:lives": {"position": "subject"}},
    default_for=("edit",),
)
