"""What the report's sections say of how their numbers were made."""

from __future__ import annotations

from alframe.report.options import Options

INTERVALS = {
    "bootstrap": (
        "Intervals are two-sided 95 % bootstrap intervals over seeds (percentiles of the means of "
        "10,000 resamples; Efron 1979), with as many seeds as each row names. Fewer than 3 seeds "
        "have none. With few seeds they are too narrow: of normal values such an interval holds "
        "the true mean in about 75 % of all cases with 3 seeds, 83 % with 5, 90 % with 10; "
        "--interval t gives Student t intervals, which hold it in 95 %."
    ),
    "t": (
        "Intervals are two-sided 95 % Student t intervals over seeds, with as many seeds as each "
        "row names; one seed has no interval."
    ),
}
RANKING = (
    "By the area under test accuracy against {budget}, over the range that most groups cover. "
    "Against random: the mean difference to random picks, seed by seed."
)
REACHED = (
    "What it takes to first reach this test accuracy; means over the seeds that reached it. "
    "Device-seconds are wall-clock on the device named: training, observing and selecting so far."
)
PENALTY = (
    "In each setting (all but strategy and seed is the same), at budgets that double from the "
    "first query on until random picks reach 99 % of their last accuracy (of core-sets: at every "
    "size), two strategies are compared by a two-sided paired t test over the seeds that both "
    "have. Where p < 0.05 the better one adds 1 / (number of these budgets) to its row, in the "
    "column of the other. The average of a column tells how often a strategy is beaten: smaller "
    "is better. As Ash et al. 2020 (arXiv:1906.03671); these p-values are not corrected for "
    "being many."
)
PAIRS = (
    "One paired t test for each pair: of the areas under the budget curves, averaged over the "
    "settings that both have, seed by seed; intervals are Student's, as the test. p, Holm is "
    "corrected for all pairs (Holm 1979). No p-value for fewer than 3 common seeds; with fewer "
    "than 5 only large differences are found."
)
COSTS = (
    "Wall-clock needed to get the model, mean over seeds of one device: the selector's training "
    "(the proxy, or the target itself), observing and selecting, and the target's own training. "
    "Speed-up is the full run's training time divided by the sum, for each seed, then averaged. "
    "Break-even is the largest share of the rows at which the sum is still no longer than the full "
    "run, if the target's seconds are linear in its rows. Compiling, where the training step was "
    "compiled, is needed once for each network and stands on its own."
)
WORK = (
    "Means over the seeds of one device; of active learning, of the last round. Rows a second are "
    "training rows, counted again in each epoch, or rows that were looked at or selected from. "
    "Multiply-adds are those of the model for one row, forward; one is two FLOPs."
)
CONCEPTS = (
    "Average precision on the test rows, mean over the concepts (mAP), then over seeds; positives "
    "among all labels, and the share of the pool that was labeled or ever a candidate, for a "
    "concept. Intervals are over seeds."
)
FIDELITY = (
    "The strategy also selected from what the target sees that was trained on all rows: the share "
    "of the proxy's picks that are the target's too, beside what random picks would share, and the "
    "rank correlation of the scores of all rows, where the strategy scores each row on its own. "
    "Selection speed-up: training on all rows, observing and selecting, target by proxy."
)


def budget(options: Options) -> str:
    """Returns what the area's axis is."""
    return "the logarithm of the budget" if options.log_budget else "the budget"


def method(options: Options) -> str:
    """Returns how the results were measured."""
    return (
        "Accuracies are those of the final target model on the test split. "
        f"{INTERVALS[options.interval]} Area is the mean height of the accuracy curve over "
        f"{budget(options)}."
    )


def ranking(options: Options) -> str:
    """Returns how the groups were ranked."""
    return RANKING.format(budget=budget(options))
