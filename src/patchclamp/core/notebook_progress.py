"""Whether notebooks show progress bars."""

from patchclamp.core.arguments import checked
from patchclamp.core.notebook_bar import Shown


@checked
def show_progress(on: bool = True) -> None:
    """Show progress bars in notebooks, as by default, or show none.

    Scripts and terminals have none either way. A call that is given its own ``progress`` shows no bar.

    Args:
        on: whether to show them from now on.
    """
    Shown.on = on
