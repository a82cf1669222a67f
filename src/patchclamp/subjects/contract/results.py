"""Stored contract results per family; readable without torch."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

FILE, IMAGES = "contract_results.json", "vision_contract_results.json"
"""Of families of text, and of images."""
FOLDER = Path(__file__).parents[1]


def stored_results(file: str = FILE) -> dict[str, Any]:
    """Return what a file of results holds, which tests compare with every new measurement.

    Args:
        file: ``FILE`` for families of text, ``IMAGES`` for those of images.

    Returns:
        ``parts``: name and limit of each; ``families``: by name the classes, and for each part its deviation with the
        first of the wrong mapping above the limit (null where it broke outright), or why it is excluded; ``lacks``:
        what cannot be had of its models, with the reason.

    Example:
        >>> stored_results()["families"]["llama"]["classes"]
        ['LlamaForCausalLM']
    """
    results: dict[str, Any] = json.loads((FOLDER / file).read_text())
    return results


def result_row(
    classes: Sequence[str], verdicts: Sequence[Any], lacks: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Any]:
    """Return a family's entry.

    Returns:
        dict[str, Any]: ``classes``, ``parts`` with figures to one digit, for others they differ by the machine, and
            ``lacks`` where something cannot be had of its models.
    """
    row = {"classes": list(classes), "parts": [_part(v) for v in verdicts]}
    return {**row, "lacks": dict(lacks)} if lacks else row


def _part(verdict: Any) -> dict[str, Any]:
    if verdict.excluded:
        return {"excluded": verdict.excluded}
    return {"deviation": _short(verdict.deviation), "rejected": _short(verdict.rejected)}


def _short(figure: float | None) -> float | None:
    return None if figure is None or figure == float("inf") else float(f"{figure:.0e}")


def changed_since(old: Mapping[str, Any], new: Mapping[str, Any], limits: Sequence[float]) -> list[str]:
    """Return in what a new entry departs from the old one: classes, exclusions, or figures by more than ten times.

    Returns:
        list[str]: one phrase per difference; empty where both agree.
    """
    changes = [name for name in ("classes", "lacks") if old.get(name) != new.get(name)]
    for i, (was, now, limit) in enumerate(zip(old["parts"], new["parts"], limits, strict=True), 1):
        figures = "excluded" not in was and "excluded" not in now
        if was.get("excluded") != now.get("excluded"):
            changes.append(f"part {i}: excluded")
        elif figures and (now["deviation"] is None or now["deviation"] > max(10 * was["deviation"], limit / 10)):
            changes.append(f"part {i}: {was['deviation']} then, {now['deviation']} now")
    return changes
