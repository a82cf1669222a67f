"""A card says all that is known of a method, and a card that does not is refused."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import Estimate
from patchclamp.core.method import Cost, Method, Paper
from patchclamp.core.method_files import find_method
from patchclamp.core.method_index import find_default, methods
from patchclamp.core.options import make_options, option, read_schema, read_text, to_json
from patchclamp.core.provenance import Provenance
from patchclamp.core.recording import Recording
from patchclamp.core.rooms import ROOMS
from patchclamp.core.similarity import Similarity
from patchclamp.core.stats import Interval
from patchclamp.core.subject import Capabilities, Progress


@dataclass(frozen=True)
class Some:
    steps: int = option(10, "points", least=1, most=100)
    share: float = option(0.5, "share", least=0, most=1)
    fast: bool = option(False, "quickly")
    rules: tuple[Literal["ln", "half"], ...] = option(("ln",), "rules")
    basis: Path | None = option(None, "a folder")


class Differentiates(Protocol):
    def differentiate(self) -> None: ...


class Generates(Protocol):
    def generate(self) -> None: ...


class Both(Differentiates, Generates, Protocol):
    """Join two."""


def alike(first: Recording, second: Recording, options: Some, *, seed: int = 0, progress: Progress) -> Similarity:
    return Similarity(("a", "b"), Estimate(options.share + seed, None, options.steps, "r"))


def answer(subject: Both, options: Some) -> Similarity:
    return Similarity(("a", "b"), Estimate(1.0, None, 1, "r"))


def card(run=alike, **changes):
    complete = {
        "name": "alike", "room": "compare", "title": "likeness", "question": "How alike?",
        "papers": (Paper("2508.21258", equation="4"),), "cost": lambda sizes, options: Cost(),
        "oracle": "oracles.rsa:rsa", "calibrated_on": ("brain-linear",), "must_show": "a copy is alike",
    }  # fmt: skip
    return Method(run, **{**complete, **changes})


def recording(n: int = 2) -> Recording:
    return Recording((), {"a": np.zeros((n, 1))}, {})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "Alike"}, "name 'Alike'"),
        ({"room": "kitchen"}, "room 'kitchen'"),
        ({"question": "How alike"}, "question"),
        ({"papers": ()}, "no paper"),
        ({"oracle": "numpy:mean"}, "oracle"),
        ({"calibrated_on": ()}, "no organism"),
        ({"must_show": ""}, "must show"),
        ({"kind": "toy"}, "kind 'toy'"),
    ],
)
def test_an_incomplete_card_is_refused(changes, words):
    with pytest.raises(PatchclampError, match=words):
        card(**changes)


def test_a_function_whose_annotations_name_no_nouns_is_refused():
    def strange(first: int) -> Similarity: ...

    def nothing(first: Recording) -> int: ...

    for run in (strange, nothing):
        with pytest.raises(PatchclampError, match="takes nouns among"):
            card(run)


def test_what_a_method_takes_needs_and_gives_is_read_from_its_function():
    assert card().takes == {"first": "Recording", "second": "Recording"}
    assert (card().gives, card().needs, card().options) == ("Similarity", (), Some)
    assert {one.__name__ for one in card(answer).needs} == {"Differentiates", "Generates"}


def test_a_run_is_signed_with_method_options_and_seed():
    noun = card()(recording(), recording(), seed=2, share=0.25)
    assert noun.estimate.value == 2.25
    own = noun.provenance
    assert (own.method, own.seed, own.options["share"]) == ("compare/alike", 2, 0.25)
    assert own.hashes.keys() == {"first", "second"}
    assert (own.tier, own.label) == ("experimental", "compare/alike (experimental)")  # nothing of it is stored
    assert Provenance.from_json(own.to_json()) == own


@pytest.mark.parametrize(
    ("inputs", "named", "words"),
    [
        ((), {}, "first missing"),
        ((recording(), recording()), {"first": recording()}, "first twice"),
        ((recording(), recording(), recording()), {}, "3 inputs"),
        ((recording(), "text"), {}, "got str"),
        ((recording(), recording()), {"stops": 3}, "'stops'"),
        ((recording(), recording()), {"steps": 0}, "from 1 to 100"),
        ((recording(), recording()), {"steps": True}, "got True"),
        ((recording(), recording()), {"options": Some(), "steps": 3}, "single options"),
    ],
)
def test_what_does_not_fit_is_refused_before_work(inputs, named, words):
    with pytest.raises(PatchclampError, match=words):
        card()(*inputs, **named)


def test_a_subject_that_lacks_a_protocol_is_refused_with_the_reason():
    class Net:
        name, capabilities = "toy", Capabilities()

        def differentiate(self) -> None: ...

    with pytest.raises(PatchclampError, match="toy: it has no generate"):
        card(answer)(Net())
    Net.generate = lambda self: None
    Net.capabilities = Capabilities(missing=(("differentiate", "its weights are 8-bit"),))
    with pytest.raises(PatchclampError, match="weights are 8-bit"):
        card(answer)(Net())
    Net.capabilities = Capabilities()
    assert card(answer)(Net()).estimate.value == 1.0


def test_options_come_back_from_json():
    chosen = make_options(Some, {"steps": 3, "rules": ["ln", "half"], "basis": "a/b", "share": 1})
    assert chosen == Some(3, 1.0, False, ("ln", "half"), Path("a/b"))
    assert make_options(Some, to_json(chosen)) == chosen


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("steps", "7", 7), ("share", "0", 0.0), ("fast", "yes", True), ("fast", "false", False),
        ("rules", "ln,half", ("ln", "half")), ("basis", "none", None), ("basis", "x", Path("x")),
    ],
)  # fmt: skip
def test_options_are_read_from_text(name, text, value):
    [entry] = [one for one in read_schema(Some) if one["name"] == name]
    assert read_text(entry, text) == value


@given(st.sampled_from(["steps", "share", "fast", "rules"]), st.text(max_size=6))
def test_any_text_is_a_value_or_refused(name, text):
    [entry] = [one for one in read_schema(Some) if one["name"] == name]
    try:
        value = read_text(entry, text)
    except PatchclampError:
        return
    assert getattr(make_options(Some, {name: value}), name) == value


@pytest.mark.parametrize("text", ["1_0", "٣", "nan", "inf", "1e400", "", "0", "101", "1.5"])
def test_a_number_that_is_none_or_out_of_range_is_refused(text):
    [entry] = [one for one in read_schema(Some) if one["name"] == "steps"]
    with pytest.raises(PatchclampError, match="whole number from 1 to 100"):
        read_text(entry, text)


def test_option_types_outside_the_closed_list_are_refused():
    @dataclass(frozen=True)
    class Open:
        where: dict = option(None, "anything")

    @dataclass(frozen=True)
    class Bare:
        steps: int = 3

    @dataclass
    class Thawed:
        steps: int = option(3, "points")

    @dataclass(frozen=True)
    class Wrong:
        steps: int = option(0, "points", least=1)

    for options in (Open, Bare, Thawed, Wrong):
        with pytest.raises(PatchclampError):
            read_schema(options)


def test_papers_have_an_address_and_other_references_are_refused():
    assert Paper("doi:10.1000/x.1").link == "https://doi.org/10.1000/x.1"
    assert Paper("ours").link == ""
    with pytest.raises(PatchclampError, match="arXiv number"):
        Paper("Somebody 2020")


def test_methods_are_found_by_room_and_name():
    assert {card.room for card in methods()} <= set(ROOMS)
    assert find_method(find_default("compare"), "compare").name == "rsa"
    assert find_method(card(), "compare").name == "alike"
    with pytest.raises(PatchclampError, match="among rsa"):
        find_method("raster", "compare")
    with pytest.raises(PatchclampError, match="room"):
        methods("kitchen")


def test_an_estimate_says_what_it_stands_between():
    estimate = Estimate(
        0.5, Interval(0.4, float("nan"), 0.95, "b"), 3, "r", Interval(-0.1, 0.1, 0.95, "null"), 0.05, 0.7
    )
    assert Estimate.from_json(estimate.to_json()).to_json() == estimate.to_json()
    with pytest.raises(PatchclampError, match="of a null that is given"):
        Estimate(0.5, None, 3, "r", None, 0.05)


@dataclass(frozen=True)
class Late:
    steps: int = field(default=3)


def test_a_field_without_help_is_refused():
    with pytest.raises(PatchclampError, match="without default or help"):
        read_schema(Late)
