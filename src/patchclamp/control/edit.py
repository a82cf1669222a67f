"""Change a subject's weights so that it gives another answer."""

from typing import Any

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.edit import Edit
from patchclamp.core.method import Method
from patchclamp.core.method_files import find_method
from patchclamp.core.method_index import find_default
from patchclamp.core.recording import Recording
from patchclamp.core.subject import Progress
from patchclamp.core.task import Task
from patchclamp.subjects.protocols import Weights


@checked
def edit(
    subject: Weights,
    task: Task,
    text: Recording,
    *,
    method: str | Method | None = None,
    seed: Natural = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Edit:
    """Find a change of a subject's weights under which it gives the answers of a task.

    Args:
        subject: the network; its weights stay as they are.
        task: each case with its new answer, and its subject as the part ``subject``.
        text: activity of the same subject over ordinary text, which the change should leave alone.
        method: a method of the room ``control``, its name or one of your own; the default is ``rank_one``.
        seed: of everything random.
        progress: called as ``progress(done, total)``.
        options: of the method; see ``patchclamp methods control/NAME``.

    Returns:
        Edit: ``with subject.edited(edit):`` puts it in force, ``measure_edit`` says what it does,
        ``subject.save_edited(edit, folder)`` writes a model.

    Raises:
        PatchclampError: an unknown method or option, or a recording of another subject.

    Source: see the methods' cards.

    Cost: stated by the method's card.
    """
    chosen = find_method(method or find_default("edit", "control"), "control")
    change: Edit = chosen(subject, task, text, seed=seed, progress=progress, **options)
    return change
