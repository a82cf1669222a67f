"""Options of an estimator by name, as scikit-learn's estimators have them."""

from dataclasses import fields
from typing import Any, TypeVar

from patchclamp.core.checks import one_of

# typing.Self is refused by the checker of shapes, which decorates methods one by one.
Own = TypeVar("Own", bound="Parameters")


class Parameters:
    """Read and change the fields of a dataclass by name."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the options by name."""
        return {one.name: getattr(self, one.name) for one in fields(self)}  # type: ignore[arg-type]  # a dataclass

    def set_params(self: Own, **options: Any) -> Own:
        """Change options by name.

        Raises:
            PatchclampError: no such option.
        """
        for name, value in options.items():
            one_of("option", name, self.get_params())
            setattr(self, name, value)
        return self
