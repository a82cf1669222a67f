"""Which tests run in one process, where there are several: those that share what takes long to make."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import pytest

# Folders whose tests take longest come first, so that what is left at the end is short.
ORDER = (
    "browser",
    "planted",
    "e2e",
    "golden",
    "conformance",
    "equivalence",
    "integration",
    "families",
    "unit",
    "property",
    "meta",
    "src",
)


def order_of(file: str) -> int:
    """Return a number by which test files are sorted: their folder's place; a folder that is not listed is first."""
    folder = file.partition("/")[0]
    return ORDER.index(folder) if folder in ORDER else -1


def group_of(file: str, given: Mapping[str, Any], scopes: set[str], names: frozenset[str]) -> str:
    """Return a test's group: its folder, its file, or within its folder its family or organism.

    A fixture of a package or a module is built for the tests that use it, so these stay together. Where there is none,
    tests of one family or organism do, for its model is built once for all of them; the others go by file.

    Args:
        file: path of the test's file, its folder first.
        given: what the test is parametrised with.
        scopes: scopes of the fixtures that it uses and is not parametrised with.
        names: names of families and organisms.
    """
    folder = file.partition("/")[0]
    if "package" in scopes:
        return folder
    subject = next((value for value in given.values() if isinstance(value, str) and value in names), None)
    return file if subject is None or "module" in scopes else f"{folder} {subject}"


def check_ids(ids: Iterable[str]) -> None:
    """Raise unless every test's id ends in its group, as pytest-xdist writes it for the process that distributes them.

    Raises:
        pytest.UsageError: an id without a group.
    """
    alone = next((one for one in ids if one.rfind("@") <= one.rfind("]")), None)
    if alone is not None:
        raise pytest.UsageError(
            f"expected ids of tests with their groups, got {alone!r}: this pytest and this pytest-xdist do not go "
            "together; install the versions in constraints.txt"
        )


def thin(cases: Sequence[Mapping[str, Any]], names: frozenset[str]) -> list[int]:
    """Return which cases of one test function are enough to see every value of every parameter.

    All families and organisms count as one value: what they differ in is weights and places, not the shapes that an
    annotation states. Values without a text of their own count as different ones.

    Args:
        cases: what each is parametrised with.
        names: names of families and organisms.
    """
    kept, seen = [], set()
    for number, given in enumerate(cases):
        values = {
            (name, "a model" if isinstance(value, str) and value in names else repr(value))
            for name, value in given.items()
        }
        if not kept or values - seen:
            kept.append(number)
            seen |= values
    return kept


@cache
def subjects() -> frozenset[str]:
    """Return the names of all families and organisms."""
    from patchclamp import organisms
    from patchclamp.subjects.families.spec import family_names
    from patchclamp.subjects.vision_sites import vision_family_names

    return frozenset((*family_names(), *vision_family_names(), *organisms.names()))
