"""Rules one by one, each tried on every window: candidates are what holds of a token on which the unit fires."""

import numpy as np

from patchclamp.describe import rules as R
from patchclamp.describe.judge import Window

FIRING = ("top", "quantile", "random")


def candidates_at(tokens, i):
    t, word = tokens[i], R.letters_of(tokens[i])
    yield "token", t, R.Token(t)
    yield from (("word", R.stem(t), R.Word(word)) for _ in [0] if R.stem(t))
    yield from (("prefix", word[:n], R.Prefix(word[:n])) for n in (2, 3, 4) if len(word) > n)
    yield from (("suffix", word[-n:], R.Suffix(word[-n:])) for n in (2, 3, 4) if len(word) > n)
    yield from (("pattern", p, R.Pattern(p)) for p in R.NAMED_PATTERNS.values() if R.Pattern(p).fits(t))
    yield from (("first", n, R.First(n)) for n in (1, 2, 4) if i < n)
    yield from (("after", tokens[i - 1], R.Follows((tokens[i - 1],))) for _ in [0] if i)
    yield from ((n, tokens[i - n : i + 1], R.Follows(tokens[i - n : i], t)) for n in (1, 2) if i >= n)


def rule(subject, exemplars, options, corpus=None):
    units = [exemplars.of_unit(unit) for unit in exemplars.units]
    return [
        weight(subject, rows, options) if {row.kind in FIRING for row in rows} == {True, False} else 0 for rows in units
    ]


def weight(subject, rows, options):
    n = range(len(rows))
    windows = [Window(tuple(subject.answer_name(i) for i in row.ids)) for row in rows]
    values = [
        np.where(rows.stimuli[s].counted, rows.row_activations(i), -np.inf)
        for i, s in zip(n, rows.stimulus, strict=True)
    ]
    fires = [row.kind in FIRING for row in rows]
    silence = max(values[i].max() for i in n if not fires[i])
    active = [
        x >= x.max() - 0.7 * max(x.max() - silence, 0) if f else x > np.inf for x, f in zip(values, fires, strict=True)
    ]
    active = active if rows.marks is None else [rows.mask(i) & (values[i] > -np.inf) & fires[i] for i in n]
    draw, held = rows.stimuli.draw(2**32)[rows.stimulus], set()
    for part in ([i for i in n if fires[i]], [i for i in n if not fires[i]]):
        last = sorted(draw[part])[max(1, int(options.held_out * len(part))) - 1]
        held |= {i for i in part if draw[i] <= last}

    def gain(rule, i):
        f = rule.fires(windows[i])
        return f.any() * (0.5 if fires[i] else -1) + fires[i] * (f & active[i]).sum() / (f.sum() + active[i].sum() or 1)

    def score(rule, side):
        parts = [[gain(rule, i) for i in side if fires[i] == f] for f in (True, False)]
        return round(0.5 + sum(np.mean(part) for part in parts) / 2, 9)

    fit, found = [i for i in n if i not in held], {}
    for kind, key, rule in (
        c for i in fit for t in np.flatnonzero(active[i]) for c in candidates_at(windows[i].tokens, t)
    ):
        found.setdefault(kind, {})[key] = rule
    ranked = {kind: sorted(some, key=lambda key: (-score(some[key], fit), key)) for kind, some in found.items()}
    some = [found[kind][key] for kind, keys in ranked.items() for key in keys[:3]]
    for names in [ranked.get("token", [])[:1]]:
        while 0 < len(names) < options.most_tokens:
            sets = [R.Tokens((*names, t)) for t in ranked["token"] if t not in names]
            best = max(sets, key=lambda s: score(s, fit), default=None)
            if best is None or score(best, fit) <= score(R.Tokens(names) if names[1:] else R.Token(names[0]), fit):
                break
            some, names = [*some, best], best.texts
    best = max(some, key=lambda rule: score(rule, held))

    def apart(rule):
        parts = [[gain(rule, i) - gain(best, i) for i in held if fires[i] == f] for f in (True, False)]
        return sum(np.var(d, ddof=1) / len(d) / 4 for d in parts if len(d) > 1) ** 0.5

    sets = [rule for rule in some if isinstance(rule, R.Tokens)]
    some = [r for r in some if r not in sets or r == max(sets, key=lambda s: (score(s, held), -s.complexity))]
    near = [rule for rule in some if score(best, held) - score(rule, held) <= apart(rule) + 1e-9]
    return max(score(r, held) for r in near if r.complexity == min(r.complexity for r in near))
