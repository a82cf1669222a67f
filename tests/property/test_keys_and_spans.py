"""Laws of the key and span grammars, searched by Hypothesis: what is written is read back, what is broken says so."""

import json
import string

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from patchclamp.core.errors import PatchclampError
from patchclamp.core.intervention import Intervention, Source, Span, change, clamp, spans
from patchclamp.core.recording import Recording
from patchclamp.core.site import Site
from patchclamp.core.stimulus import Stimulus
from patchclamp.core.unit import SLUG, UnitKey, slug

slugs = st.text(string.ascii_lowercase + string.digits + "._-", min_size=1, max_size=12)
paths = st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=20)
numbers = st.integers(0, 10**18 - 1)
# Text made of the grammar's own signs breaks more than text at large.
near = st.text("0123456789+-:@/=*._ aé٣\n", max_size=16)
anything = st.one_of(near, st.text(max_size=24))


@st.composite
def keys(draw):
    place = draw(st.sampled_from([None, "position", "step"]))
    return UnitKey(
        site=draw(paths),
        index=draw(numbers),
        basis=draw(slugs),
        subject=draw(st.none() | slugs),
        **({} if place is None else {place: draw(numbers)}),
    )


@st.composite
def runs(draw):
    """Every span that means something: half-open, in positions or steps, from the front or from the end."""
    steps = draw(st.booleans())
    small = st.integers(0, 40) if steps else st.integers(-40, 40)
    start, stop = draw(small), draw(st.none() | small)
    assume(stop is None or not (start < 0 <= stop))
    assume(stop is None or (start < 0) != (stop < 0) or start < stop)
    assume(stop is not None or start != -1)
    return Span(start, stop, steps)


# -- keys -------------------------------------------------------------------------------------------------------------


@given(keys())
@example(UnitKey("module.layer1.0.conv1.out", 0, "k-80", "resnet20", step=3))
def test_a_key_survives_text_and_url(key):
    assert UnitKey.parse(str(key)) == key
    assert UnitKey.from_url(key.to_url()) == key
    assert " " not in key.to_url()
    assert key.without_place() == UnitKey.parse(str(key).split("@")[0])


@given(keys(), keys())
def test_two_keys_are_written_alike_only_if_they_are_alike(one, other):
    assert (str(one) == str(other)) == (one == other)
    assert (one.to_url() == other.to_url()) == (one == other)


@given(anything)
@example("a/neurons/" + "9" * 5000)
@example("a/b/c/d/1")
@example("a/neurons/1@+")
@example("a/neurons/1\n")
@example("a/neurons/-1")
def test_any_text_is_a_key_or_a_stated_error(text):
    for read in (UnitKey.parse, UnitKey.from_url):
        try:
            key = read(text)
        except PatchclampError:
            continue
        assert UnitKey.parse(str(key)) == key


@given(keys(), st.sampled_from(["/", "@", "=", " ", "é", "\n", "%", "+"]), st.data())
def test_a_foreign_sign_breaks_a_key(key, sign, data):
    text = str(key)
    at = data.draw(st.integers(0, len(text)))
    broken = text[:at] + sign + text[at:]
    try:
        found = UnitKey.parse(broken)
    except PatchclampError:
        return
    # The only signs a key may take on are those of its own grammar: one more slash, an @, a step's plus.
    assert sign in "/@+"
    assert str(found) == broken or int(broken.split("/")[-1].lstrip("0") or 0) >= 0


@pytest.mark.parametrize(
    "parts",
    [
        {"index": -1},
        {"index": 10**18},
        {"position": -1},
        {"position": 1, "step": 1},
        {"site": ""},
        {"site": "a/b"},
        {"basis": "Neurons"},
        {"subject": ""},
        {"subject": "GPT"},
    ],
)
def test_a_key_with_a_broken_part_is_refused(parts):
    with pytest.raises(PatchclampError):
        UnitKey(**{"site": "a", "index": 0, **parts})


@given(st.text(max_size=30))
def test_any_name_becomes_a_slug(name):
    assert SLUG.fullmatch(slug(name))


# -- spans ------------------------------------------------------------------------------------------------------------


def inside(span, length):
    """Return the positions (or steps) below ``length`` that a span names, by Python's own slices."""
    return list(range(length))[slice(span.start, span.stop)]


@given(runs())
def test_a_span_survives_text(span):
    assert Span.parse(str(span)) == span


@given(runs(), st.integers(1, 45))
def test_a_span_means_what_pythons_slice_means(span, length):
    import torch

    from patchclamp.subjects.apply import _logical_at

    assume(span.steps or -length <= span.start)
    prompt = torch.tensor([[0 if span.steps else length]])
    logical = torch.arange(length)[None]
    found = _logical_at((span,), logical, prompt)[0].nonzero().flatten().tolist()
    assert found == inside(span, length)


@given(st.integers(-40, 40))
def test_one_number_is_one_place(number):
    [span] = spans(number)
    assert inside(span, 45) == [list(range(45))[number]]
    assert spans(str(number)) == (span,)
    assert spans([number, str(number)]) == (span, span)


@given(st.none() | st.integers(-40, 40), st.none() | st.integers(-40, 40))
def test_a_slice_is_read_as_python_reads_it(start, stop):
    try:
        [span] = spans(slice(start, stop))
    except PatchclampError:
        # Refused only where it would be empty for some length that reaches it.
        low = start or 0
        assert stop is not None
        assert low < 0 <= stop or (low >= stop and (low < 0) == (stop < 0))
        return
    assert inside(span, 45) == list(range(45))[slice(start, stop)]


@given(anything)
@example("9" * 5000)
@example("5:" + "9" * 5000)
@example("-")
@example("-:5")
@example("5:-")
@example("+5+")
@example(":")
@example("")
def test_any_text_is_a_span_or_a_stated_error(text):
    try:
        span = Span.parse(text)
    except PatchclampError:
        return
    assert Span.parse(str(span)) == span
    assert text.strip().lstrip("+-")[:1] in [*string.digits, ":"]


@pytest.mark.parametrize("at", [slice(1, 9, 2), slice(9, 1, -1), "1,,2", 10**18, "3:3", "-2:1", "+2:+1", "+-1", "+:2"])
def test_what_is_no_run_is_refused(at):
    with pytest.raises(PatchclampError):
        spans(at)


# -- interventions ----------------------------------------------------------------------------------------------------

RECORDING = Recording((Stimulus.of(np.arange(3)),), {"a.b": np.zeros((3, 4))}, {"a.b": Site("a.b", "b", 4)})
finite = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def interventions(draw):
    operation = draw(st.sampled_from(["set", "add", "scale", "ablate", "patch", "project"]))
    mode = draw(st.sampled_from(["zero", "mean", "resample"])) if operation == "ablate" else "zero"
    positions = draw(st.none() | st.dictionaries(st.integers(0, 9), st.integers(0, 9), min_size=1, max_size=3))
    source = (draw(st.integers(0, 5)), positions, draw(st.integers(0, 99)))
    # The parts only: Hypothesis objects to the type checker drawing its samples inside a strategy.
    numbers = draw(finite | st.lists(finite, min_size=1, max_size=3))
    return {
        "site": draw(paths),
        "operation": operation,
        "units": draw(st.none() | st.lists(st.integers(0, 99), min_size=1, max_size=4).map(tuple)),
        "basis": draw(slugs),
        "at": draw(st.none() | st.lists(runs(), min_size=1, max_size=3).map(tuple)),
        "value": numbers if operation in ("set", "add", "scale") else None,
        "mode": mode,
        "source": source if operation == "patch" or mode != "zero" else None,
    }


@given(interventions())
def test_an_intervention_survives_json(parts):
    source = None if parts["source"] is None else Source(RECORDING, *parts["source"])
    intervention = Intervention(**{**parts, "source": source})
    data = json.loads(json.dumps(intervention.to_json(), allow_nan=False))
    again = Intervention.from_json(data, {RECORDING.hash: RECORDING})
    assert again.to_json() == intervention.to_json()
    for name in ("site", "operation", "units", "basis", "at", "mode"):
        assert getattr(again, name) == getattr(intervention, name)
    assert np.array_equal(np.asarray(again.value), np.asarray(intervention.value))
    if intervention.source is not None:
        assert again.source.values is RECORDING
        assert (again.source.stimulus, again.source.seed) == (intervention.source.stimulus, intervention.source.seed)
        assert again.source.positions == intervention.source.positions
        with pytest.raises(PatchclampError, match="none with that hash"):
            Intervention.from_json(data)


def test_a_call_cannot_leave_the_process():
    edit = change("call", "a", fn=abs)
    with pytest.raises(PatchclampError, match="holds Python"):
        edit.to_json()
    with pytest.raises(PatchclampError, match="cannot be sent"):
        Intervention.from_json({"site": "a", "operation": "call"})
    with pytest.raises(PatchclampError):
        Intervention.from_json({"site": "a", "operation": "set", "value": 1, "fn": "os.system"})


hostile = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(["site", "operation", "basis", "units", "at", "value", "mode", "source"]), hostile)
@example("value", [[1.0], [2.0, 3.0]])
@example("value", "nan")
@example("units", 3)
@example("units", ["x"])
@example("at", {})
@example("source", {"values": []})
@example("mode", "loud")
@example("operation", [])
def test_json_of_any_kind_is_an_intervention_or_a_stated_error(field, value):
    data = {"site": "a", "operation": "set", "value": 1.0, field: value}
    try:
        found = Intervention.from_json(data, {RECORDING.hash: RECORDING})
    except PatchclampError:
        return
    json.dumps(found.to_json(), allow_nan=False)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1.0, float("-inf")], "much"])
def test_values_must_be_finite_numbers(value):
    with pytest.raises(PatchclampError):
        change("set", "a", 0, value=value)


# -- clamps -----------------------------------------------------------------------------------------------------------


@given(keys(), st.sampled_from(["=", "+=", "*="]), finite)
def test_a_clamp_is_read_as_it_is_written(key, sign, value):
    found = clamp(f"{key}{sign}{value!r}")
    assert found.operation == {"=": "set", "+=": "add", "*=": "scale"}[sign]
    assert (found.site, found.basis, found.units, found.value) == (key.site, key.basis, (key.index,), value)
    if key.position is not None:
        assert inside(found.at[0], key.position + 2)[-1:] == [key.position] if key.position < 99 else True
        assert found.at == (Span(key.position, key.position + 1),)
    elif key.step is not None:
        assert found.at == (Span(key.step, key.step + 1, True),)
    else:
        assert found.at is None
        assert clamp(f"{key}{sign}{value!r}", at="+0:+3").at == (Span(0, 3, True),)


@given(anything, st.none() | anything)
@example("a/neurons/1=" + "9" * 5000, None)
@example("=1", None)
@example("a/neurons/1==1", None)
@example("a/neurons/1@+=1", None)
@example("a/neurons/1=1e400", None)
def test_any_text_is_a_clamp_or_a_stated_error(text, at):
    try:
        found = clamp(text, at)
    except PatchclampError:
        return
    assert np.isfinite(found.value)
    assert found.operation in ("set", "add", "scale")


# -- clamps as the command line writes them ---------------------------------------------------------------------------


@given(st.sampled_from(["=", "+=", "*="]), st.floats(allow_nan=False, allow_infinity=False), st.none() | runs())
def test_a_clamp_says_what_to_do_and_where(sign, value, where):
    text = f"gpt2/blocks.3.mlp.act/neurons/12{sign}{value!r}" + ("" if where is None else f" @ {where},+0:")
    read = clamp(text, at="7")
    expected = change(
        {"=": "set", "+=": "add", "*=": "scale"}[sign], "blocks.3.mlp.act", 12, value=value,
        at="7" if where is None else [where, "+0:"],
    )  # fmt: skip
    assert read.to_json() == expected.to_json()


def test_a_clamp_can_ablate():
    assert clamp("a.b/heads/1=ablate @ 2").to_json() == change("ablate", "a.b", 1, basis="heads", at=2).to_json()


@pytest.mark.parametrize(
    "text", ["a/b/1", "a/b/1=", "a/b/1=x", "a/b/1=1 @", "a/b/1+=ablate", "a/b/1@3=1 @ 5", "=1 @ 2"]
)
def test_what_is_no_clamp_is_refused(text):
    with pytest.raises(PatchclampError):
        clamp(text)
