"""Evidence: for every unit windows in which it fires and windows in which it is silent."""

from patchclamp.describe.evidence.draw import EvidencePlan, draw_evidence, plan_evidence
from patchclamp.describe.evidence.drawing import EvidenceOptions, Levels
from patchclamp.describe.evidence.stored import Evidence, EvidenceGroup

__all__ = [
    "Evidence",
    "EvidenceGroup",
    "EvidenceOptions",
    "EvidencePlan",
    "Levels",
    "draw_evidence",
    "plan_evidence",
]
