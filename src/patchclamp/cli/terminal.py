"""A rich console on which no text can command the terminal."""

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.segment import Segment
from rich.text import Text

from patchclamp.cli.console import plain


class PlainConsole(Console):
    """A console whose texts cannot command the terminal, and that leaves a closed pipe to the caller."""

    def on_broken_pipe(self) -> None:
        """Raise what a closed pipe raises, where rich would end the process."""
        raise BrokenPipeError

    def render_str(self, text: str, **options: Any) -> Text:
        """Read markup; done before layout, so that columns are as wide as what is shown."""
        return super().render_str(plain(text), **options)

    def render(self, renderable: Any, options: Any = None) -> Iterator[Segment]:
        """Turn anything into segments; rich's own commands are those that are marked as such."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(plain(segment.text), segment.style)
