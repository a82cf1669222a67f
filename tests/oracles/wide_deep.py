"""WideDeep judges one call at a time, written out: layer by layer, order by order, mean over what was read."""

import numpy as np


def wide_deep(subject, task, options, seed=0):
    """Return the share of cases whose target wins, ties half."""
    worth = []
    for case in task.cases:
        a, b = case.targets[0], case.contrasts[0]
        names = (subject.propose(case.shown, a, b) if options.propose else None) or options.perspectives
        kept, reviews = [], {}
        for layer in range(options.layers):
            new = {}
            for k, name in enumerate(names):
                if options.neighbours == "all":
                    near = [k] + [j for j in range(len(names)) if j != k]
                else:
                    near = [j for j in (k, k - 1, k + 1) if 0 <= j < len(names)]
                for order in ("ab", "ba"):
                    one, two = (a, b) if order == "ab" else (b, a)
                    seen = [reviews[j, order] for j in near if reviews.get((j, order)) is not None]
                    said = subject.compare(case.shown, one, two, name, seen)
                    new[k, order] = None if said is None else type("Seen", (), {"scores": said, "perspective": name})
                left, right = new[k, "ab"], new[k, "ba"]
                if left and right and (options.final == "all" or layer == options.layers - 1):
                    kept.append(left.scores[0] + right.scores[1] - left.scores[1] - right.scores[0])
            reviews = new
        if kept:
            d = float(np.mean(kept)) / 2
            worth.append(0.5 if abs(d) <= options.epsilon else float(d > 0))
    return [float(np.mean(worth))]
