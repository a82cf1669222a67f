"""Python and a command that give a run's numbers again."""

import shlex
from collections.abc import Sequence

from patchclamp.atlas.lab import messages
from patchclamp.attribute.features import PLAIN
from patchclamp.core.intervention import Intervention
from patchclamp.core.unit import UnitKey


def as_python(
    model: str,
    text: str,
    changes: Sequence[Intervention],
    now: Sequence[Intervention],
    *,
    read_at: int,
    top: int,
    new_tokens: int,
    target: int,
    controls: int,
    seed: int,
    atlas: str = "",
    other: str = "",
) -> str:
    """Return Python that prints a run's table, continuation and control.

    Args:
        model: what ``pc.load`` takes, as it is typed.
        text: the prompt.
        changes: the clamps.
        now: what of them acts on the prompt.
        read_at: where the next token is read.
        top: rows of each side.
        new_tokens: tokens to write.
        target: the control's token.
        controls: random sets.
        seed: of these.
        atlas: the atlas that keeps the features that are clamped, where any are.
        other: the prompt from which clamps take values, where any do.

    Returns:
        str: a script.
    """
    steps = any(span.steps for change in changes for span in change.at or ())
    lines = ["import patchclamp as pc", "", f"model = pc.load({model})", f"text = {text!r}"]
    if python_of_features(changes):
        lines[-1:] = [
            f"for site, basis in pc.atlas.open({atlas!r}).bases():",
            "    model.add_basis(basis, site)",
            lines[-1],
        ]
    sites = list(dict.fromkeys(change.site for change in changes if change.operation == "patch"))
    if sites:
        lines.append(f"other = model.run({other!r}, record={sites!r}, logits=False).recording")
    lines += _list("clamps", changes)
    held = "clamps"
    if steps:
        lines += ["# What waits for generated tokens leaves the next token alone.", *_list("now", now)]
        held = "now"
    lines += [
        "",
        "unclamped, changed = (",
        f"    model.run(text, interventions=on, logits=({read_at},)).logits[0, 0].double().softmax(-1) "
        f"for on in ([], {held})",
        ")",
        f"n = min({top}, len(unclamped))",
        "likeliest = {*unclamped.topk(n).indices.tolist(), *changed.topk(n).indices.tolist()}",
        "table = {i: (float(unclamped[i]), float(changed[i])) for i in sorted(likeliest, key=lambda i: -changed[i])}",
        "for i, (before, after) in table.items():",
        '    print(f"{model.answer_name(i)!r:20} {before:.4f} → {after:.4f}")',
    ]
    if new_tokens:
        lines += [
            "",
            f"without, clamped = (model.generate(text, interventions=on, max_new_tokens={new_tokens})[0] "
            "for on in ([], clamps))",
            "print(without.text, clamped.text, sep='\\n')",
        ]
    if controls:
        lines += [
            "",
            "from patchclamp.atlas.lab.random_controls import compare",
            "",
            f"control = compare(model, text, {held}, target={target}, n_sets={controls}, seed={seed})",
            "print(control.measured, control.mean, control.p)",
        ]
    return "\n".join(lines) + "\n"


def verify_as_python(model: str, atlas: str, asked: messages.VerifyAsked, made: str = "") -> str:
    """Return Python that replaces the same nodes of the same answer.

    Args:
        model: what ``pc.load`` takes, as typed.
        atlas: its folder.
        asked: what was replaced.
        made: what explains the answer again, where the atlas does not keep it.

    Returns:
        str: a script.
    """
    end = f"found = verify(model, graph, {asked.nodes!r}, n_sets={asked.controls}, seed={asked.seed})"
    if made:
        whole = "graph_with_receipt(found)" if "find_circuit" in made else "found.graph()"
        imports = ["from patchclamp.recipes.circuit import graph_with_receipt"] if "find_circuit" in made else []
        lines = [made, *imports, "from patchclamp.atlas.lab.verify import verify", "", f"graph = {whole}", end]
        return "\n".join([*lines, "print(found.predicted, found.measured, found.mean, found.p)", ""])
    return "\n".join(
        [
            "import patchclamp as pc",
            "from patchclamp.atlas.lab.verify import verify",
            "",
            f"model, atlas = pc.load({model}), pc.atlas.open({atlas!r})",
            f"[graph] = [layer.graph for layer in atlas.reading.layers if layer.id == {asked.graph!r}]",
            end,
            "print(found.predicted, found.measured, found.mean, found.p)",
            "",
        ]
    )


def as_command(model: Sequence[str], text: str, changes: Sequence[Intervention], new_tokens: int) -> str:
    """Return the command that prints a run's continuation; empty where no shell can hold it.

    None holds some texts, features, and values of another prompt.

    Returns:
        str: one line, quoted for a POSIX shell.
    """
    if "\0" in text or python_of_features(changes) or any(change.operation == "patch" for change in changes):
        return ""
    name, *loading = model
    options = [*loading]
    options += [word for change in changes for word in ("--clamp", _words(change))]
    options += ["--max-new-tokens", str(max(new_tokens, 1))]
    # After two strokes nothing is an option, whatever the text begins with.
    words = [*options, "--", name, text] if text.startswith("-") else [name, text, *options]
    return shlex.join(["patchclamp", "generate", *words])


def python_of_features(changes: Sequence[Intervention]) -> bool:
    """Say whether any change is of a feature, which a model has only once its basis is attached."""
    return any(change.basis not in PLAIN for change in changes)


def _list(name: str, changes: Sequence[Intervention]) -> list[str]:
    return [f"{name} = [", *(f"    {_change(one)}," for one in changes), "]"] if changes else [f"{name} = []"]


def _key(change: Intervention) -> str:
    assert change.units is not None
    return str(UnitKey(change.site, change.units[0], change.basis))


def _places(change: Intervention) -> str:
    return "" if change.at is None else ",".join(map(str, change.at))


def _change(change: Intervention) -> str:
    assert change.units is not None
    words = [repr(change.operation), repr(change.site), repr(change.units[0])]
    words += [f"value={float(change.value)!r}"] if change.value is not None else []
    words += ["source=other"] if change.operation == "patch" else []
    words += [f"at={_places(change)!r}"] if change.at is not None else []
    words += [f"basis={change.basis!r}"] if change.basis != "neurons" else []
    return f"pc.change({', '.join(words)})"


def _words(change: Intervention) -> str:
    sign = {"add": "+=", "scale": "*="}.get(change.operation, "=")
    value = "ablate" if change.value is None else repr(float(change.value))
    places = _places(change)
    return f"{_key(change)}{sign}{value}" + (f" @ {places}" if places else "")
