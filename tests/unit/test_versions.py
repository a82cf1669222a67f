"""A version that was not tested is said once, and the tested ones are those of pyproject.toml."""

import importlib.metadata
import re
import tomllib
import warnings
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from patchclamp.subjects import versions
from patchclamp.subjects.families.spec import family
from patchclamp.subjects.language import LanguageModel

ROOT = Path(__file__).resolve().parents[2]
REQUIRED = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]


@pytest.fixture
def installed(monkeypatch):
    """Let packages have versions, and this one the requirements of pyproject.toml."""

    def put(**found):
        bare = importlib.metadata.version
        monkeypatch.setattr(versions, "version", lambda name: found.get(name) or bare(name))
        monkeypatch.setattr(versions, "requires", lambda _name: REQUIRED)
        versions.warn_if_untested.cache_clear()

    yield put
    versions.warn_if_untested.cache_clear()


@pytest.mark.parametrize(("name", "found"), [("transformers", "6.1.0"), ("torch", "2.99.0"), ("transformers", "5.5.0")])
def test_a_version_that_was_not_tested_is_said_once(installed, name, found):
    installed(**{name: found})
    module = family("gpt2").tiny()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        LanguageModel(module)
        LanguageModel(module)
    said = [each for each in said if issubclass(each.category, versions.UntestedVersion)]
    assert len(said) == 1
    assert re.match(
        rf"patchclamp was tested with {name} .*, not with {found}: numbers may be wrong", str(said[0].message)
    )


def test_tested_versions_and_sources_that_are_not_installed_say_nothing(installed, monkeypatch):
    installed(torch="2.13.0+cpu", transformers="5.24.0")
    versions.warn_if_untested()

    def missing(_name):
        raise importlib.metadata.PackageNotFoundError

    versions.warn_if_untested.cache_clear()
    monkeypatch.setattr(versions, "requires", missing)
    versions.warn_if_untested()


def test_what_has_an_upper_bound_is_what_is_warned_of():
    bounded = {one.name for one in map(Requirement, REQUIRED) if any(s.operator == "<" for s in one.specifier)}
    assert bounded == set(versions.BOUNDED)
