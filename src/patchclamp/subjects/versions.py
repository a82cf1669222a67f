"""Warn where torch or transformers is of a version that this release was not tested with."""

import warnings
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version

BOUNDED = ("torch", "transformers")
"""What moves under us: the packages that have an upper bound, in pyproject.toml."""


class UntestedVersion(UserWarning):
    """A package is outside the versions that this release was tested with."""


@cache
def warn_if_untested() -> None:
    """Warn of each bounded package that is outside its bounds, once in a process.

    pip keeps the bounds unless it is made not to. The bounds are those of the installed package; sources that are not
    installed have none.
    """
    from packaging.requirements import Requirement  # transformers brings it

    try:
        required = [Requirement(line) for line in requires("patchclamp") or ()]
    except PackageNotFoundError:
        return
    for each in required:
        if each.name in BOUNDED and not each.specifier.contains(installed := version(each.name), prereleases=True):
            warnings.warn(
                f"patchclamp was tested with {each.name} {each.specifier}, not with {installed}: numbers may be wrong. "
                f'Run pip install "{each}", or try `patchclamp verify` on the model.',
                UntestedVersion,
                stacklevel=4,
            )
