"""Attribution: every MLP neuron and every head at every position, against bare forward and backward passes.

Bare is plain PyTorch with frozen weights: the metric's gradient at the embeddings, once with only the last position
unembedded (as patchclamp does) and once as it is usually written, with all of them. Attribution and relevance patching
with a corrupted prompt, scores included, are compared with two bare forwards and one bare backward; so are the scores
of every node (embedding, heads, MLPs) over a batch of pairs, and of every neuron and head of one pair at every place.
"""

from collections.abc import Callable

import numpy as np
import shape
import timing
import torch
from torch import Tensor

from patchclamp.attribute import attribute_nodes
from patchclamp.attribute.pairs import attribute_pairs
from patchclamp.core.metric import Metric
from patchclamp.core.stimulus import Stimulus
from patchclamp.core.task import Case, Task
from patchclamp.subjects.cases import ReadCase, ReadTask

SITES = ["blocks.*.mlp.act", "blocks.*.attn.z"]
TARGET, CONTRAST = 11, 12
PAIRS, PAIR_TOKENS, SHORT = 16, 15, 5


def main() -> None:
    parser = timing.parser(__doc__, rounds=7)
    parser.add_argument("--positions", type=int, default=128, help="tokens of the prompt")
    options = parser.parse_args()
    rounds, n_positions = (2, 16) if options.quick else (options.rounds, options.positions)
    torch.set_num_threads(options.threads)
    model = shape.subject()
    ids, corrupted = shape.ids(2, n_positions).split(1)
    metric = Metric("logit_difference", (TARGET,), (CONTRAST,))
    pairs, one = pairs_of(PAIRS, PAIR_TOKENS), pairs_of(1, SHORT)
    clean, other, short, other_short = (
        torch.tensor(np.stack([s.ids for s in end])) for some in (pairs, one) for end in (some.clean, some.counterpart)
    )
    tasks: dict[str, Callable[[], object]] = {
        "bare": lambda: bare(model.module, ids, 1),
        "bare, all unembedded": lambda: bare(model.module, ids, 0),
        "differentiate, 24 sites": lambda: model.differentiate(ids, metric, SITES),
        "bare, two forwards": lambda: (forward(model.module, ids), bare(model.module, corrupted, 1)),
        "attribution patching": lambda: attribute_nodes(
            model, ids, metric, corrupted=corrupted, method="attribution_patching"
        ),
        "relevance patching": lambda: attribute_nodes(model, ids, metric, corrupted=corrupted, method="relp"),
        "bare, two forwards, pairs": lambda: (forward(model.module, clean), bare(model.module, other, 1)),
        "nodes over pairs, atp": lambda: attribute_pairs(model, pairs, method="attribution_patching", batch_size=PAIRS),
        "nodes over pairs, relp": lambda: attribute_pairs(model, pairs, method="relp", batch_size=PAIRS),
        "bare, two forwards, one pair": lambda: (forward(model.module, short), bare(model.module, other_short, 1)),
        "positions of one pair, atp": lambda: attribute_pairs(
            model, one, level="neuron", method="attribution_patching", by_position=True
        ),
    }
    timing.alternate(tasks, 2)
    spent = timing.alternate(tasks, rounds)
    found = model.differentiate(ids, metric, SITES)
    n_nodes = n_positions * shape.N_LAYERS * (4 * shape.D_MODEL + shape.N_HEADS)
    expected = bare(model.module, ids, 1)
    difference = abs(float(found.metric[0]) - float(expected))
    print(f"{n_nodes:,} nodes (neurons and heads at {n_positions} positions) per prompt")
    middle = {name: timing.median(seconds) for name, seconds in spent.items()}
    rows = [[n, f"{m.wall_s:.3f}", f"{m.cpu_s:.3f}", f"{n_nodes / m.cpu_s / 1e6:.2f}"] for n, m in middle.items()]
    timing.show(["", "wall s", "cpu s", "million nodes/cpu-s"], rows)
    print(f"metric's difference from the bare model's: {difference}")
    ours = spent["differentiate, 24 sites"]
    times = timing.ratio(ours, spent["bare"])
    plain = timing.ratio(ours, spent["bare, all unembedded"])
    print(f"x bare with everything unembedded: {plain.wall_s:.2f} (wall), {plain.cpu_s:.2f} (cpu)")
    bars = [
        timing.Bar("attribution: time / bare forward and backward, wall", times.wall_s, "<=", 1.35),
        timing.Bar("attribution: time / bare forward and backward, cpu", times.cpu_s, "<=", 1.35),
    ]
    for method, against, most in (
        ("attribution patching", "bare, two forwards", 1.3), ("relevance patching", "bare, two forwards", 1.3),
        ("nodes over pairs, atp", "bare, two forwards, pairs", 1.3),
        ("nodes over pairs, relp", "bare, two forwards, pairs", 1.3),
        ("positions of one pair, atp", "bare, two forwards, one pair", 1.2),
    ):  # fmt: skip
        ratio = timing.ratio(spent[method], spent[against])
        for clock in ("wall", "cpu"):
            name = f"{method}: time / two forwards and one backward, {clock}"
            bars.append(timing.Bar(name, getattr(ratio, f"{clock}_s"), "<=", most))
    timing.report(options, {"nodes": n_nodes, **spent, "metric difference": difference}, bars)


def pairs_of(n: int, n_tokens: int) -> ReadTask:
    """Return pairs of random tokens, which nobody has to tokenize."""
    ids = shape.ids(2 * n, n_tokens).numpy()
    stimuli = [Stimulus.of(row) for row in ids]
    metrics = (Metric("logit_difference", (TARGET,), (CONTRAST,)),) * n
    words = tuple(Case(f"clean {i}", f"corrupted {i}", (" a",), (" b",)) for i in range(n))
    return ReadTask(Task(words), tuple(map(ReadCase, stimuli[:n], stimuli[n:], metrics)), np.ones(n), np.zeros(n))


def forward(model: torch.nn.Module, ids: Tensor) -> Tensor:
    """Return the last position's logits, without gradients."""
    with torch.no_grad():
        return model(ids, use_cache=False, logits_to_keep=1).logits


def bare(model: torch.nn.Module, ids: Tensor, keep: int) -> Tensor:
    """Return the metric after taking its gradient at the embeddings; ``keep`` positions are unembedded, 0 for all."""
    model.requires_grad_(False)
    embedded = model.transformer.wte(ids).requires_grad_(True)
    last = model(inputs_embeds=embedded, use_cache=False, logits_to_keep=keep).logits[:, -1]
    measured = last[:, TARGET] - last[:, CONTRAST]
    measured.sum().backward()
    model.requires_grad_(True)
    return measured.detach()[0]


if __name__ == "__main__":
    main()
