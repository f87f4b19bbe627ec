"""Pure functions on arrays: numpy in means numpy out, torch in means torch on the same device.

Torch, numpy and scipy only; no config is needed. What is not named here is shared by these.
"""

from alframe.functional.badge import badge_select
from alframe.functional.batch_bald import batch_bald_greedy
from alframe.functional.contrastive import neighbor_divergence
from alframe.functional.coverage import max_coverage_greedy, purity_radius
from alframe.functional.density import mean_cosine
from alframe.functional.disagreement import bald, mean_std, variation_ratio
from alframe.functional.distinct import distinct_rows
from alframe.functional.facility_location import assign_counts, facility_location_greedy
from alframe.functional.facility_location_sparse import facility_location_sparse
from alframe.functional.fisher import bait_greedy
from alframe.functional.galaxy import galaxy_bisect
from alframe.functional.gradients import last_layer_gradients, residuals
from alframe.functional.graph_cut import graph_cut_greedy
from alframe.functional.herding import herding_greedy
from alframe.functional.joint_entropy import joint_entropy_exact, joint_entropy_sampled
from alframe.functional.kcenter import kcenter_greedy
from alframe.functional.kmeans import kmeans_pp, nearest_to_centroids
from alframe.functional.linkage import average_linkage
from alframe.functional.matching_pursuit import omp_match
from alframe.functional.message_passing import d2_greedy
from alframe.functional.nearest import nearest_center
from alframe.functional.positive import most_likely_positive
from alframe.functional.sampling import gumbel_top_k
from alframe.functional.strata import coverage_centric
from alframe.functional.topk import pairwise_topk
from alframe.functional.uncertainty import entropy, least_confidence, margin

__all__ = [
    "assign_counts",
    "average_linkage",
    "badge_select",
    "bait_greedy",
    "bald",
    "batch_bald_greedy",
    "coverage_centric",
    "d2_greedy",
    "distinct_rows",
    "entropy",
    "facility_location_greedy",
    "facility_location_sparse",
    "galaxy_bisect",
    "graph_cut_greedy",
    "gumbel_top_k",
    "herding_greedy",
    "joint_entropy_exact",
    "joint_entropy_sampled",
    "kcenter_greedy",
    "kmeans_pp",
    "last_layer_gradients",
    "least_confidence",
    "margin",
    "max_coverage_greedy",
    "mean_cosine",
    "mean_std",
    "most_likely_positive",
    "nearest_center",
    "nearest_to_centroids",
    "neighbor_divergence",
    "omp_match",
    "pairwise_topk",
    "purity_radius",
    "residuals",
    "variation_ratio",
]
