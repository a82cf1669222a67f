"""Tokens, a picture, or another kind of its folder."""

from patchclamp.core.stimulus.kind import Shown as Shown
from patchclamp.core.stimulus.kind import StimulusKind as StimulusKind
from patchclamp.core.stimulus.kind import find_kind as find_kind
from patchclamp.core.stimulus.kind import kind_names as kind_names
from patchclamp.core.stimulus.kind import kind_of as kind_of
from patchclamp.core.stimulus.kinds.picture import Picture as Picture
from patchclamp.core.stimulus.kinds.tokens import Role as Role
from patchclamp.core.stimulus.kinds.tokens import Stimulus as Stimulus
from patchclamp.core.stimulus.packed import PackedStimuli as PackedStimuli
from patchclamp.core.stimulus.packed import pack_stimuli as pack_stimuli
from patchclamp.core.stimulus.packed import runs as runs
from patchclamp.core.stimulus.packed import unpack_stimuli as unpack_stimuli
