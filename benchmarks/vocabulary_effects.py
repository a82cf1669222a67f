"""Vocabulary effects: does clamping a neuron or a head move the token that it decodes to?

Both language organisms and the pretrained stories260K. The 20 units of highest peak, one a token, each side, clamped to
plus and minus twice the 99th percentile of |activation|; beside other neurons of their sites on the same tokens, and
other tokens under the same clamps. Of heads z is clamped along the decoded direction, beside random directions of z.
Two models' decodings are compared as well: the share of neurons that keep their first token while a copy is fine-tuned.
"""

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np
import timing
import torch

import patchclamp as pc
from patchclamp.core.intervention import change
from patchclamp.core.stats import mean_interval, wilson_interval
from patchclamp.describe.transfer import compare_first_tokens
from patchclamp.evaluate.benchmarks.token_effect import METHOD as TOKEN_EFFECT
from patchclamp.loaders import load
from patchclamp.organisms import language

UNITS, DRAWS, STRENGTH = 20, 49, 2.0
STORIES = (
    "Once upon a time there was a little girl who had a red ball. She liked to play with it in the park.",
    "Tom and his dog went for a walk. The dog saw a big bird in the tree and ran to it.",
    "One day the sun was hot and mom said, let us go to the water. They were very happy.",
)


def models() -> Iterator[tuple[str, Any, pc.Task]]:
    """Yield each model with the texts over which it is clamped."""
    for name in ("language-gpt2", "language-llama"):
        texts = [str(one.stimulus.text) for one in language.text(3, seed=3, name=name)]
        yield name, language.build(name), pc.Task.of_labels({"text": texts})
    if timing.needs_stories():
        yield "stories260K", load(str(timing.STORIES)), pc.Task.of_labels({"text": STORIES})


def neuron_rows(name: str, model: Any, task: pc.Task, quick: bool) -> Iterator[list[str]]:
    """Yield a row per side, sign of the gate and branch."""
    gated = any(site.kind == "mlp.up" for site in model.sites())
    for side in ("write", "read", "gate") if gated else ("write", "read"):
        for branch in ("act", "up") if gated else ("act",):
            # Beside φ(gate) the neuron's own activation is what its column is multiplied by.
            words = pc.describe(model, *([task] if branch == "up" else []), side=side)
            cells = []
            for negative in (False, True):
                for against in ("neurons", "tokens"):
                    effect = TOKEN_EFFECT(
                        model, task, words, branch=branch, negative=negative, against=against,
                        n_units=4 if quick else UNITS, n_random=19 if quick else DRAWS, strength=STRENGTH,
                    )  # fmt: skip
                    sign = -1 if negative else 1
                    if against == "neurons":
                        cells.append(interval(sign * effect.value, *sorted((sign * effect.low, sign * effect.high))))
                    ends = sorted((sign * effect.null.low, sign * effect.null.high))
                    cells.append(f"{ends[0]:.3f} to {ends[1]:.3f}; {effect.p:.2g}")
            yield [name, side, branch, *cells]


def interval(value: float, low: float, high: float) -> str:
    """Return a number with its interval."""
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def head_rows(name: str, model: Any, task: pc.Task, quick: bool) -> Iterator[list[str]]:
    """Yield a row for what heads write: effect on the decoded token under +c and −c, beside controls."""
    words = pc.describe(model, task, method="head_vocabulary")
    shown = [case.shown for case in task.cases]
    draw, before = np.random.default_rng(0), log_p(model, shown, [])
    known = np.setdiff1d(np.arange(model.n_answers), sorted(model.special_answers))
    table: dict[str, list[float]] = {key: [] for key in ("+", "−", "+ tokens", "− tokens", "+ along", "− along")}
    for place in words.order("peak")[: 4 if quick else UNITS]:
        key = words.index.unit(int(place))
        heads = model.head_circuits(key.site)
        size = heads[key.index].values.shape[1]
        part = slice(key.index * size, (key.index + 1) * size)
        recording = model.run(shown, record=[key.site], logits=False).recording
        z = recording[key.site][torch.as_tensor(recording.counted)][:, part].double()
        own = heads[key.index].values[0].to(z)
        own = own if float((z @ own).mean()) >= 0 else -own
        token = int(words.terms[place, 0])
        along = torch.as_tensor(draw.standard_normal((2 if quick else 9, size)), dtype=z.dtype)
        for sign, way in ((1, "+"), (-1, "−")):
            c = sign * STRENGTH * float(torch.quantile((z @ own).abs(), 0.99))
            effect = log_p(model, shown, [clamp(key.site, part, own, c)]) - before
            table[way].append(effect[token])
            table[f"{way} tokens"].append(effect[draw.choice(known, DRAWS)].mean())
            others = [clamp(key.site, part, torch.nn.functional.normalize(v, dim=0), c) for v in along]
            table[f"{way} along"].append(np.mean([(log_p(model, shown, [one]) - before)[token] for one in others]))
    cells = []
    for way in ("+", "−"):
        for values in (table[way], table[f"{way} along"], table[f"{way} tokens"]):
            found = mean_interval(np.array(values))
            cells.append(interval(float(np.mean(values)), found.low, found.high))
    falls = sum(x < 0 for x in table["−"])
    ends = wilson_interval(falls, len(table["−"]))
    yield [name, f"{len(table['+'])}", *cells, f"{falls / len(table['−']):.2f} ({ends.low:.2f} to {ends.high:.2f})"]


def clamp(site: str, part: slice, direction: torch.Tensor, c: float) -> Any:
    """Return what sets the component of a head's z along a direction to c."""

    def apply(z: torch.Tensor) -> torch.Tensor:
        new, v = z.clone(), direction.to(z)
        new[..., part] += (c - z[..., part] @ v)[..., None] * v
        return new

    return change("call", site, fn=apply)


def log_p(model: Any, shown: list[Any], on: list[Any]) -> np.ndarray:
    """Return every token's log-probability, its mean over all positions."""
    rows = [torch.log_softmax(model.run(one, interventions=on).logits[0].double(), -1) for one in shown]
    return torch.cat(rows).mean(0).numpy()


def transfer_rows(name: str, model: Any, task: pc.Task, quick: bool) -> Iterator[list[str]]:
    """Yield a row per number of steps by which a model is trained further on its own texts reversed."""
    before = {side: pc.describe(model, side=side) for side in ("write", "read")}
    ids = [model.tokenize(case.shown).ids[::-1].astype(np.int64) for case in task.cases]
    module = model.module.train()
    optimiser = torch.optim.Adam(module.parameters(), lr=1e-3)
    done = 0
    for steps in (1, 2) if quick else (1, 10, 50):
        for _ in range(steps - done):
            for row in ids:
                shown = torch.as_tensor(row.copy())[None]
                module(shown, labels=shown).loss.backward()
            optimiser.step()
            optimiser.zero_grad()
        done = steps
        model.forget_hash()
        for side, words in before.items():
            kept = compare_first_tokens(words, pc.describe(model, side=side))
            yield [
                name,
                str(steps),
                side,
                interval(kept.value, kept.low, kept.high),
                f"{kept.null.low:.3f} to {kept.null.high:.3f}",
            ]
    module.eval()


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--quick", action="store_true", help="tiny settings: does it run? The numbers mean little")
    options = flags.parse_args()
    torch.set_num_threads(1)
    neurons: list[list[str]] = []
    heads: list[list[str]] = []
    transfer: list[list[str]] = []
    for name, model, task in models():
        neurons.extend(neuron_rows(name, model, task, options.quick))
        heads.extend(head_rows(name, model, task, options.quick))
        transfer.extend(transfer_rows(name, model, task, options.quick))
    print("neurons: nats of the decoded token's log p; null 95 % and p\n")
    sides = ["under +c", "other neurons", "other tokens", "under −c", "other neurons", "other tokens"]
    timing.show(["model", "side", "clamped", *sides], neurons)
    print("\nheads\n")
    sides = ["under +c", "other directions", "other tokens", "under −c", "other directions", "other tokens"]
    timing.show(["model", "heads", *sides, "share that falls under −c"], heads)
    print("\nfirst tokens kept\n")
    timing.show(["model", "steps", "side", "share kept", "shuffled"], transfer)


if __name__ == "__main__":
    main()
