"""Pure functions on arrays: torch and numpy only."""

from alframe.functional.kcenter import kcenter_greedy
from alframe.functional.uncertainty import entropy, least_confidence, margin

__all__ = ["entropy", "kcenter_greedy", "least_confidence", "margin"]
