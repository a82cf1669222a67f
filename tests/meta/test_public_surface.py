"""The public surface is `patchclamp.__all__`: sorted, complete, documented."""

import inspect
from collections.abc import Iterator

import pytest

import patchclamp


def undocumented(name: str, thing: object) -> Iterator[str]:
    """Yield the dotted names of the callables at and directly below `thing` that say nothing about themselves."""
    if not callable(thing):
        return
    if inspect.isclass(thing):
        own = vars(thing).get("__doc__")
        # A dataclass without a docstring is given its signature as one.
        if not own or own.startswith(f"{thing.__name__}("):
            yield name
        for attribute, value in vars(thing).items():
            value = inspect.unwrap(getattr(value, "__func__", value))
            is_method = inspect.isfunction(value) or isinstance(value, property)
            if is_method and not attribute.startswith("_") and not inspect.getdoc(getattr(thing, attribute)):
                yield f"{name}.{attribute}"
    elif inspect.isroutine(thing) and not inspect.getdoc(thing):
        yield name


def test_all_is_sorted_and_without_repetition():
    assert list(patchclamp.__all__) == sorted(set(patchclamp.__all__))


def test_all_is_what_dir_shows():
    assert set(patchclamp.__all__) <= set(dir(patchclamp))


@pytest.mark.parametrize("name", patchclamp.__all__)
def test_name_resolves_and_is_documented(name: str):
    assert list(undocumented(name, getattr(patchclamp, name))) == []


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = patchclamp.no_such_name
