"""Descriptions by a language model, unit by unit: the passages written plainly, one request after another."""

import json
import math
import urllib.request

import numpy as np

from patchclamp.describe.prompts import load_prompt


def llm(subject, exemplars, options, seed=0):
    """Return for each unit 1 where the model gives a sentence, else 0."""
    return [float(sentence is not None) for sentence in sentences(subject, exemplars, options, seed)]


def sentences(subject, exemplars, options, seed=0):
    """Return what the model says of each unit in order; None where it gives no sentence."""
    found = []
    for unit in sorted(set(exemplars.unit.tolist())):
        text = passages(subject, exemplars, unit, options, seed)
        found.append(None if text is None else ask(options, text))
    return found


def passages(subject, exemplars, unit, options, seed=0):
    """Return the passages of one unit as the model is shown them; None where it fires in none."""
    rows = [(row, one) for row, one in enumerate(exemplars) if one.unit == unit]
    active = sorted([r for r in rows if r[1].kind in ("top", "quantile", "random")], key=lambda r: r[1].value)
    silent = [r for r in rows if r[1].kind in ("silent", "neighbour", "near")]
    if not active:
        return None
    key = f"{exemplars.site.path}/{exemplars.basis}/{unit}"
    draw = np.random.default_rng([seed, *key.encode()])
    if len(active) > options.examples:
        active = [active[i] for i in sorted(draw.permutation(len(active))[: options.examples])]
    if len(silent) > options.contrastive:
        silent = [silent[i] for i in sorted(draw.permutation(len(silent))[: options.contrastive])]
    active.reverse()
    counted = [np.array(exemplars.stimuli[int(exemplars.stimulus[row])].counted) for row, _ in active]
    values = [[float(a) if c else -math.inf for a, c in zip(exemplars.row_activations(row), own, strict=True)]
              for (row, _), own in zip(active, counted, strict=True)]  # fmt: skip
    most = max(max(own) for own in values)
    lines = []
    for number, ((_, one), own) in enumerate(zip(active, values, strict=True), 1):
        texts = [subject.answer_name(i) for i in one.ids]
        marked = [a > 0.3 * max(own) and a > 0 for a in own]
        line = ""
        for i, text in enumerate(texts):
            line += "<<" if marked[i] and not (i and marked[i - 1]) else ""
            line += text
            line += ">>" if marked[i] and not (i + 1 < len(texts) and marked[i + 1]) else ""
        lines.append(f"Passage {number}, it fires: {line}")
        strongest = sorted((i for i in range(len(own)) if marked[i]), key=lambda i: (-own[i], i))[:10]
        listed = [
            f"{json.dumps(texts[i])} {min(10, math.ceil(round(10 * own[i] / most, 9)))}" for i in sorted(strongest)
        ]
        lines += ["  " + ", ".join(listed)] if listed else []
    for number, (_, one) in enumerate(silent, len(active) + 1):
        lines.append(f"Passage {number}, it is silent: " + "".join(subject.answer_name(i) for i in one.ids))
    return "\n".join(lines)


def ask(options, text):
    """Return the sentence after the marker of the answer; None without a marker."""
    messages = [
        {"role": role, "content": part.replace("{{passages}}", text)} for role, part in load_prompt("explain").messages
    ]
    body = {"model": options.llm, "messages": messages, "max_tokens": options.answer_tokens, "temperature": 0.0}
    request = urllib.request.Request(
        f"{options.base_url}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        answer = json.load(response)["choices"][0]["message"]["content"]
    return answer.partition("EXPLANATION: ")[2].splitlines()[0] if "EXPLANATION: " in answer else None
