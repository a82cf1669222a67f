"""An explanation as one page, with its receipts."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from patchclamp.core.method_index import find_default, find_title
from patchclamp.core.plain_names import name_unit
from patchclamp.core.plain_numbers import is_share
from patchclamp.core.receipt import RULE
from patchclamp.report.html import (
    UNDEFINED,
    Number,
    between,
    box_token,
    inline,
    is_known,
    mark_changes,
    number,
    page,
    percent,
    safe,
    unit,
    visible,
)
from patchclamp.report.picture import heat_figure, png_uri
from patchclamp.report.svg import Axis, effect_bar, effects, kept_curve, scatter

POOR, MOSTLY = 0.5, 0.9
"""Rank correlation below which predictions agree poorly; share of the way that counts as having m back."""
EVEN = 0.01
"""Effects that differ by less than a hundredth are as much."""
TALL = 40
"""Rows beyond which a table scrolls."""
RIGHT = ' class="n"'
INSTEAD = {"zero": "zero", "mean": "their means over a text", "corrupted": "their values on the corrupted prompt"}
FLOOR = {
    "zero": "m with every node set to zero",
    "mean": "m with every node at its mean",
    "corrupted": "m on the corrupted prompt",
}
VALUES = {
    "neuron": "a neuron's activation",
    "head": "of a head, the norm of its z, what its attention gathers",
    "channel": "the size of a channel over its map",
    "feature": "of a feature, how much of its direction the basis reads",
}
"""Kind of a unit → what its value is."""
KINDS = {"neuron": "neuron", "head": "attention head", "channel": "channel", "feature": "feature"}
NOUN = "Explanation"


def draw(explanation: Any, *, command: str | None = None) -> str:
    """Return the page of an ``Explanation``; see ``render``."""
    image, heat = png_uri(getattr(explanation.case.clean, "pixels", None)), ""
    if explanation.heat is not None:
        heat = heat_figure(explanation.heat.pixels, explanation.heat.together().tolist())
    return render(explanation.to_json(), command=command, image=image, heat=heat)


def render(explanation: Mapping[str, Any], *, command: str | None = None, image: str = "", heat: str = "") -> str:
    """Write an explanation as one HTML page without script or outside reference.

    Args:
        explanation: what ``Explanation.to_json`` returned.
        command: how to make it again, shown at the end.
        image: what was shown, as a data address; empty where it was no image.
        heat: the image with its scores by place, as SVG; empty where there is none.

    Returns:
        str: the page. It encodes to UTF-8 whatever the prompt held.

    Example:
        >>> from patchclamp.recipes import explain
        >>> from patchclamp.loaders import load
        >>> found = explain(load("organism:cat"), "the old cat", " sat", contrast=" ran")
        >>> page = render(found.to_json())
        >>> page[:15], "<title>Why ' sat' rather than ' ran'?</title>" in page
        ('<!doctype html>', True)
    """
    d = explanation
    sections = (
        _question(d, image, heat),
        _receipt(d),
        _causes(d),
        _agreement(d),
        _kept_curve(d),
        _provenance(d, command),
    )
    return page(_task(d), sections, images=bool(image))


def _effect(value: Number) -> str:
    return number(value, signed=True)


def _nodes(n: int) -> str:
    return f"{n:,} node" + "s" * (n != 1)


def _task(d: Mapping[str, Any]) -> str:
    """Return the question in plain words."""
    q = d["question"]
    if not q["target"]:
        return f"What carries {q['explained']}?"
    target, contrast = map(_read_at, q["read"])
    other = f" rather than '{q['contrast']}'{contrast}" if q["contrast"] is not None else ""
    return f"Why '{q['target']}'{target}{other}?"


def _read_at(token: str) -> str:
    return f" (read at '{token}')" if token else ""


def _question(d: Mapping[str, Any], image: str, heat: str) -> str:
    q = d["question"]
    heading = inline(_task(d))
    if q["target"]:
        target, contrast = map(_read_at, q["read"])
        heading = f"Why <span class=\"carries\">'{inline(q['target'])}'</span>{inline(target)}"
        if q["contrast"] is not None:
            heading += f" rather than <span class=\"against\">'{inline(q['contrast'])}'</span>{inline(contrast)}"
        heading += "?"
    largest = max((abs(t["predicted"]) for t in d["tokens"] if is_known(t["predicted"])), default=0.0)
    facts = [("m on the prompt", number(d["metric_clean"])), (FLOOR[d["baseline"]], number(d["metric_baseline"]))]
    if is_known(d["probability"]):
        facts.append((f"probability of {box_token(_first_answer(d))}", percent(d["probability"])))
    shading = (
        'Each token is shaded by what the nodes at its position are predicted to carry: <b class="carries">blue</b> '
        'raises m and carries the answer, <b class="against">orange</b> lowers m and works against it; the deepest '
        "shade is the strongest token."
        if largest
        else "No node at any position is predicted to carry anything."
    )
    if _n_given(d):
        shading += " Dotted underneath: the answer's own beginning, which the model is given."
        if d["question"].get("text"):
            shading += (
                f" So the text that was scored is <code>{inline(d['question']['text'])}</code>: try changes there."
            )
    grade, _, rest = d["receipts"]["sentence"].partition(":")
    side = "carries" if d["receipts"]["verdict"] == "holds" else "against"
    cautions = "".join(f'<p class="warn">{inline(line)}</p>\n' for line in d["cautions"])
    unit = f" ({inline(q['unit'])})" if q["unit"] else ""
    shown = f'<p class="prompt">{_prompt(d, largest)}</p>\n<p class="note">{shading}</p>\n'
    if q.get("image"):
        drawn = f'<img src="{image}" alt="the image that was shown">' if image else ""
        shown = f'<figure class="shown">{drawn}<figcaption>{inline(q["prompt"])}</figcaption></figure>\n'
        if heat:
            shown = f'<div class="images">{shown}{_heat(d, heat)}</div>\n'
    return (
        f'<header>\n<p class="soft">patchclamp · {inline(d["subject"]["slug"])}</p>\n<h1>{heading}</h1>\n'
        f'<p class="lead"><b class="{side}">{inline(grade)}</b>:{inline(rest)}</p>\n{cautions}'
        f"<p><i>m</i> is the {inline(q['quantity'].removeprefix('the '))}{unit}: {number(d['metric_clean'])}.</p>\n"
        f"{shown}"
        f'<div class="halves"><div>{_facts(facts)}{_reference(d)}</div>\n<div>{_likeliest(d)}</div></div>\n</header>'
    )


def _heat(d: Mapping[str, Any], heat: str) -> str:
    """Return the image with what its places are predicted to carry."""
    apart = d["heat"]["apart"]
    more = f" Places outside of the picture (the class token) carry {_effect(apart)}." if apart else ""
    return (
        f'<figure class="shown">{heat}<figcaption>What the units at each place are predicted to carry, summed over all '
        'units: <b class="carries">blue</b> raises m, <b class="against">orange</b> with a bar lowers it; the deepest '
        f"shade is the strongest place.{more}</figcaption></figure>"
    )


def _facts(facts: Sequence[tuple[str, ...]]) -> str:
    """Return a list of numbers, each with its name above it and perhaps a remark below."""
    rows = []
    for name, value, *remarks in facts:
        below = "".join(f'<dd class="note">{remark}</dd>' for remark in remarks)
        rows.append(f"<div><dt>{name}</dt><dd>{value}</dd>{below}</div>")
    return f'<dl class="facts">{"".join(rows)}</dl>'


def _first_answer(d: Mapping[str, Any]) -> str:
    """Return the token whose probability is given: the answer's first, where the metric reads several."""
    n = _n_given(d) if d["question"]["metric"]["kind"] == "sequence_log_probability" else 0
    return str(d["tokens"][-n]["text"] if n else d["question"]["answers"][0])


def _n_given(d: Mapping[str, Any]) -> int:
    """Return how many of the last tokens are the answer's own: those before the one that decides."""
    q, texts = d["question"], [t["text"] for t in d["tokens"]]
    if q["metric"]["kind"] == "sequence_log_probability" and q["target"]:
        return len(q["metric"]["target"]) - 1
    return next((n for n in range(len(texts) + 1) if "".join(texts[len(texts) - n :]) == q["given"]), 0)


def _prompt(d: Mapping[str, Any], largest: float) -> str:
    """Return the tokens as running text, shaded on one symmetric scale."""
    tokens = d["tokens"]
    sizes = [abs(t["predicted"]) if is_known(t["predicted"]) else 0.0 for t in tokens]
    first_given = len(tokens) - _n_given(d)
    parts = []
    for i, token in enumerate(tokens):
        value = token["predicted"]
        side = "" if not sizes[i] else " against" if value < 0 else " carries"
        given = " next" if i >= first_given else ""
        title = f"position {token['position']:d}"
        shade = f' style="--a:{sizes[i] / largest:.3f}"' if sizes[i] else ""
        text = visible(token["text"]) or "<wbr>"
        parts.append(f'<span class="t{side}{given}" title="{title}"{shade}>{text}</span>')
        if "\n" in token["text"]:
            parts.append("<br>")
    return "".join(parts)


def _reference(d: Mapping[str, Any]) -> str:
    q = d["question"]
    kinds = dict.fromkeys(KINDS[c["kind"]] for c in (*d["causes"], *d["opposing"]) if c["kind"] in KINDS)
    what = f"A node is one {' or '.join(kinds) or 'unit'}"
    what += ", over its whole map" if list(kinds) == ["channel"] else " at one position"
    words = f"{what}. Nodes are replaced by {INSTEAD[d['baseline']]}"
    if d.get("bases"):
        words += (
            ", a feature along its own direction: what no feature of its basis explains stays as it is. Where a site "
            "has a basis, features stand in the place of its neurons"
        )
    if d["baseline"] != "corrupted" or q["corrupt"] is None:
        return f"<p>{words}.</p>"
    return f'<p>{words}:</p>\n<p class="quoted">{mark_changes(q["prompt"], q["corrupt"])}</p>'


def _likeliest(d: Mapping[str, Any]) -> str:
    """Return the model's own first answers as small bars."""
    q = d["question"]
    named = _first_answer(d) if q["target"] else None
    other = q["answers"][1] if q["contrast"] is not None and len(q["answers"]) > 1 else None
    rows = []
    for text, p in d["likeliest"]:
        side = "carries" if text == named else "against" if text == other else ""
        width = 100 * p if is_known(p) else 0
        rows.append(
            f'<tr class="{side}"><th scope="row">{box_token(text)}</th><td class="share">'
            f'<span class="fill" style="width:{width:.2f}%"></span></td><td class="n">{percent(p)}</td></tr>'
        )
    after = f", after {box_token(q['given'])}" if q["given"] else ""
    what, one = ("classes", "class") if q.get("image") else ("next tokens", "token")
    return (
        f'<table class="likeliest"><caption>The model\'s likeliest {what}{after}</caption>\n<thead><tr>'
        f'<th scope="col">{one}</th><th scope="col"></th><th scope="col" class="n">probability</th></tr></thead>\n'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _receipt(d: Mapping[str, Any]) -> str:
    randoms = d["receipts"]["randoms"]
    n_sets, doubts = len(randoms["measured"]), "".join(f'<p class="warn">{line}</p>' for line in _doubts(d))
    distinct = randoms["different"]
    return (
        '<section aria-labelledby="receipt"><h2 id="receipt">The receipt</h2>\n'
        f'<p class="lead">{_sentence(d)}</p>\n<p>{_against_chance(d)} {_against_rivals(d)}</p>\n{doubts}'
        f'<p class="note">{safe(RULE)}</p>\n'
        f"<figure>{effects(d)}<figcaption>What m loses: m on the prompt − m with the nodes replaced. For the random "
        f"sets the bar is their mean, the bracket its {between(randoms['interval'])}, and each circle one set."
        f"</figcaption></figure>\n<p>{_shares(d)}</p>\n"
        f'<p class="note">Each of the {n_sets} random sets has '
        f"{_nodes(randoms['size'])} matched by {safe(randoms['rule'])}; {percent(randoms['outside'])} of them came "
        f"from another decile of size, or from a wider match.{_idle(d)} {_p(randoms)} is "
        "the share of sets whose effect is at least as large, whatever its sign, counting the chosen nodes as one; "
        f"with {distinct} different sets it cannot fall below {number(1 / (1 + distinct))}.</p></section>"
    )


def _idle(d: Mapping[str, Any]) -> str:
    """Return which share of the random features replacing changes nothing of, where there are features."""
    if not d.get("bases"):
        return ""
    return (
        " Features are drawn among those away from their baseline where there are any: "
        f"{percent(d['receipts']['randoms']['idle'])} of the drawn nodes are features at their baseline, which to "
        "replace does nothing."
    )


def _p(randoms: Mapping[str, Any]) -> str:
    return f'<span class="tight">p = {number(randoms["p"])}</span>'


def _sentence(d: Mapping[str, Any]) -> str:
    """Return the receipt in one sentence."""
    n, effect = len(d["causes"]), d["receipts"]["together"]
    which = f"th{'is' if n == 1 else 'ese'} {n:,} of {_nodes(d['receipts']['kept']['nodes'])}"
    subject = f"Replacing {which}" + (" together" if n > 1 else "")
    if not is_known(effect):
        return f"{subject} has an effect that is {UNDEFINED}."
    did = "takes {} from" if effect >= 0 else "does not lower m: it adds {} to"
    size = f"<b>{number(abs(effect))}</b>"
    before = f'<span class="tight">m = {number(d["metric_clean"])}</span>'
    return f"{subject} {did.format(size)} {before}."


def _against_chance(d: Mapping[str, Any]) -> str:
    randoms, effect = d["receipts"]["randoms"], d["receipts"]["together"]
    drawn = [v for v in randoms["measured"] if is_known(v)]
    if not drawn or not is_known(effect):
        return "How random sets compare is not defined."
    strong, each = sum(abs(v) >= abs(effect) for v in drawn), _nodes(randoms["size"])
    tail = f"on average they take {_effect(randoms['mean'])} ({_p(randoms)})."
    if not strong:
        return f"No random set of {each} has as large an effect; {tail}"
    has = "has" if strong == 1 else "have"
    return f"Of {len(drawn)} random sets of {each}, {strong} {has} at least as large an effect, of either sign; {tail}"


def _against_rivals(d: Mapping[str, Any]) -> str:
    own, n, parts = d["receipts"]["together"], len(d["causes"]), []
    for rival in d["receipts"]["rivals"]:
        effect, name = rival["measured"], inline(rival["name"])
        if rival["shared"] == n == len(rival["keys"]):
            parts.append(f"The set chosen by {name} is the same.")
        elif not is_known(effect) or not is_known(own):
            parts.append(f"The set chosen by {name} takes what is {UNDEFINED}.")
        else:
            more = "as much" if abs(effect - own) <= EVEN * abs(own) else "more" if effect > own else "less"
            shared = rival["shared"]
            same = f"{shared} of {len(rival['keys'])} shared with ours" if shared else "no unit shared with ours"
            parts.append(f"The set chosen by {name} takes {more}: {number(effect)} ({same}).")
    parts += [f"No set was chosen by {inline(name)}: {inline(why)}." for name, why in d.get("omitted", {}).items()]
    return " ".join(parts)


def _doubts(d: Mapping[str, Any]) -> list[str]:
    """Return what a reader should hold against the receipt."""
    randoms, n = d["receipts"]["randoms"], len(d["causes"])
    effect, n_sets, doubts = d["receipts"]["together"], len(randoms["measured"]), []
    strong = is_known(effect) and any(is_known(v) and abs(v) >= abs(effect) for v in randoms["measured"])
    if strong and is_known(randoms["p"]) and randoms["p"] >= 0.05:
        doubts.append(f"Chance does as well ({_p(randoms)}): this receipt does not show that these nodes are special.")
    if is_known(effect) and effect <= 0:
        doubts.append("Replacing these nodes does not lower m: they do not carry the answer.")
    if randoms["size"] < n:
        doubts.append(
            f"Each random set has only {_nodes(randoms['size'])}, for no more others of their kinds "
            "remain: sets of fewer nodes give no p. Ask for fewer causes (<code>--top</code>)."
        )
    asked = randoms.get("asked", n_sets)
    if randoms["different"] < asked:
        doubts.append(f"Only {randoms['different']} of {asked} random sets could be drawn: these sites are small.")
    return doubts


def _shares(d: Mapping[str, Any]) -> str:
    measured = d["normalised"]["measured"]
    scale = f"m on the prompt ({number(d['metric_clean'])}) − {FLOOR[d['baseline']]} ({number(d['metric_baseline'])})"
    if not (is_known(d["metric_clean"]) and is_known(d["metric_baseline"])):
        return "No percentages are given: one of the two ends of m is not known."
    if not is_known(measured):
        if d["metric_clean"] <= 0 and d["question"]["metric"]["kind"].endswith("_difference"):
            return "The model does not prefer this answer, so no percentage is given."
        none = f"No percentages are given: {scale} is below 0.1."
        if d["metric_clean"] >= d["metric_baseline"] or d["baseline"] == "corrupted":
            return none
        return f"{none} That baseline favours the answer: a corrupted prompt (<code>--counterpart</code>) is another."
    if not is_share(measured):
        did = "raise m" if measured < 0 else f"take more than {scale}"
        return f"No share is given: these nodes {did}, and nodes that work against the answer are left."
    return f"As a share of {scale}: <b>{percent(min(max(measured, 0.0), 1.0))}</b>."


def _causes(d: Mapping[str, Any]) -> str:
    causes, opposing = d["causes"], d["opposing"]
    axis = Axis.over([v for c in (*causes, *opposing) for v in (c["predicted"], c["measured"])], margin=0.0)
    slug = d["subject"]["slug"]
    against = (
        _table(
            opposing,
            axis,
            slug,
            "Predicted to work against it most: m should rise where they are replaced.",
            promotes=_promotes(d),
        )
        if opposing
        else "<p>No node is predicted to work against it.</p>"
    )
    ranked = "Ranked by what they are predicted to carry; measured one at a time."
    return (
        '<section aria-labelledby="causes"><h2 id="causes">The causes</h2>\n'
        f"{_table(causes, axis, slug, ranked, promotes=_promotes(d))}\n"
        f"<h3>Against the answer</h3>\n{against}\n"
        '<p class="note">A key names a unit by site, basis and index, and after @ its position. Bars show the measured '
        f"effect, the line across them the predicted one, all on one scale. Value: {_value(d)}."
        f"{_PROMOTES if _promotes(d) else ''}</p></section>"
    )


def _value(d: Mapping[str, Any]) -> str:
    kinds = dict.fromkeys(c["kind"] for c in (*d["causes"], *d["opposing"]) if c["kind"] in VALUES)
    return "; ".join(VALUES[kind] for kind in kinds) or "its activation"


_PROMOTES = " Promotes: the tokens whose logits its write raises most, directly through the unembedding."


def _promotes(d: Mapping[str, Any]) -> bool:
    return any(c["promotes"] for c in (*d["causes"], *d["opposing"]))


def _table(nodes: Sequence[Mapping[str, Any]], axis: Axis, slug: str, caption: str, *, promotes: bool) -> str:
    def draw_promoted(c: Mapping[str, Any]) -> str:
        tokens = " ".join(map(box_token, c["promotes"])) or "–"
        return f'<td class="wide" data-label="promotes">{tokens}</td>' if promotes else ""

    rows = "\n".join(
        f'<tr><td class="n">{rank}</td><th scope="row">{inline(name_unit(c["key"]))}'
        f'<code class="key">{unit(c["key"], slug)}</code></th>'
        f'<td class="from wide" data-label="token">{box_token(c["token"])}</td>'
        f'<td class="n from" data-label="value">{_figure(c["activation"])}</td>'
        f'<td class="n" data-label="predicted">{_figure(c["predicted"], signed=True)}</td>'
        f'<td class="n" data-label="measured"><b>{_figure(c["measured"], signed=True)}</b></td>'
        f'<td class="effect wide">{effect_bar(axis, c["predicted"], c["measured"])}</td>{draw_promoted(c)}</tr>'
        for rank, c in enumerate(nodes, 1)
    )
    heads = "".join(
        f'<th scope="col" style="width:{width}%"{right}>{name}</th>'
        for name, width, right in (
            ("#", 3, RIGHT),
            ("unit", 25 if promotes else 32, ""),
            ("token" if promotes else "where", 11 if promotes else 16, ""),
            ("value", 8, RIGHT),
            ("predicted", 9, RIGHT),
            ("measured", 9, RIGHT),
            ("effect", 17 if promotes else 23, ""),
            *((("promotes", 18, ""),) if promotes else ()),
        )
    )
    tall = ' class="tall" tabindex="0" role="region" aria-label="Causes"' if len(nodes) > TALL else ""
    return (
        f'<div{tall}><table class="nodes"><caption>{caption}</caption>\n<thead><tr>{heads}</tr></thead>\n'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _figure(value: Number, *, signed: bool = False) -> str:
    """Return a number for a column, with room where a third decimal would stand, so that points stand in line."""
    digits = number(value, signed=signed)
    return digits + "\u2007" * (is_known(value) and "." in digits and len(digits.partition(".")[2]) == 2)


def _agreement(d: Mapping[str, Any]) -> str:
    a = d["receipts"]["agreement"]
    checks = a["checks"]
    near = sum(check["near_zero"] for check in checks)
    lost = sum(not (is_known(check["predicted"]) and is_known(check["measured"])) for check in checks)
    missing = "numbers are missing" if lost else "one of the two is constant"
    facts = [
        (name, number(a[kind]), between(a[f"{kind}_interval"]) if is_known(a[kind]) else missing)
        for name, kind in (("Spearman's ρ", "spearman"), ("slope", "slope"))
    ]
    poor = ""
    if is_known(a["spearman"]) and a["spearman"] < POOR:
        usual, measured = find_default("explain", "attribute"), find_default("circuit", "attribute")
        other = {usual: measured, measured: ""}.get(d["method"], usual)
        instead = f"; another method may be tried (<code>--method {other}</code>)" if other else ""
        poor = f'<p class="warn">Predictions agree poorly with single replacements here{instead}.</p>'
    if lost:
        poor += f'<p class="note">{_nodes(lost)} without a number: not drawn.</p>'
    return (
        '<section aria-labelledby="agreement"><h2 id="agreement">Predicted against measured</h2>\n'
        f"<p>{_nodes(len(checks))}, each replaced by itself; {near} of them, drawn hollow, were predicted to do next "
        "to nothing. Where predictions are right, points lie on the dashed line.</p>\n"
        f'<div class="beside"><figure>{scatter(checks, d["subject"]["slug"])}</figure>\n<div>{_facts(facts)}'
        '<p class="note">ρ says whether their order is right, the slope whether their size is: at 1 nodes do as much '
        f"as predicted. Intervals come from drawing the nodes again.</p>{poor}</div></div></section>"
    )


def _kept_curve(d: Mapping[str, Any]) -> str:
    kept, metric_clean = d["receipts"]["kept"], d["metric_clean"]
    return (
        '<section aria-labelledby="kept"><h2 id="kept">Keeping only the strongest</h2>\n'
        "<p>Here everything is replaced except some nodes: the strongest by predicted size, or as many at random. "
        "The further left the blue line reaches m on the prompt, the fewer nodes suffice. "
        f"{_brought_back(kept, metric_clean)}</p>\n<figure>{kept_curve(kept, metric_clean)}"
        '<figcaption><span class="swatch line"></span>strongest nodes kept &emsp; <span class="swatch"></span>random '
        "nodes kept: mean, and lowest to highest of their orders</figcaption></figure></section>"
    )


def _brought_back(kept: Mapping[str, Any], metric_clean: Number) -> str:
    """Return the fewest kept nodes that bring m most of the way back, beside as many random ones."""
    none = kept["measured"][0]
    if not (is_known(none) and is_known(metric_clean)) or abs(metric_clean - none) < 0.1:
        return "Here m hardly differs between the two ends, so the curve says little."
    for size, value, random in zip(kept["sizes"], kept["measured"], kept["random"], strict=True):
        if size < kept["nodes"] and is_known(value) and (value - none) / (metric_clean - none) >= MOSTLY:
            return (
                f"Nine tenths of the way are first covered with {size:,} of {_nodes(kept['nodes'])} kept: "
                f'<span class="tight">m = {number(value)}</span>. As many random ones leave '
                f'<span class="tight">m = {number(random)}</span>.'
            )
    return "Here nine tenths of the way are covered only where all nodes are kept."


def _bases(bases: Mapping[str, str]) -> str:
    return "<br>".join(f"{inline(name)}, <code>{inline(digest)}</code>" for name, digest in bases.items())


def _provenance(d: Mapping[str, Any], command: str | None) -> str:
    q, subject, short = d["question"], d["subject"], d["method"]
    gap = number(d["gap"], signed=True) if is_known(d["gap"]) else "not promised by this method"
    facts = [
        ("Method", f"{inline(find_title(short, 'attribute'))} (<code>{inline(short)}</code>)"),
        ("Replaced by", INSTEAD[d["baseline"]]),
        ("m", inline(q["explained"])),
        ("Model", f"{inline(subject['slug'])}, <code>{inline(subject['hash'])}</code>"),
        ("Completeness gap", gap),
        *((("Bases", _bases(d["bases"])),) if d.get("bases") else ()),
        ("Seed", f"{d['seed']:d}"),
        ("patchclamp", version("patchclamp")),
    ]
    again = f"<h3>To make it again</h3>\n<pre>{inline(command)}</pre>\n" if command else ""
    return (
        '<section aria-labelledby="made"><h2 id="made">How it was made</h2>\n<dl class="made">'
        + "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts)
        + f"</dl>\n{again}</section>"
    )
