#!/usr/bin/env bash
# The README's small selection via proxy on the real CIFAR-10, 3 seeds: at most 45 minutes on two CPU
# cores. The same command again goes on where it was stopped.
#   scripts/svp_cifar10_small.sh [FOLDER]      run directories and the report go there
set -euo pipefail
folder=${1:-runs/figure_svp_cifar10_small}
command="alframe -m experiment=svp_cifar10_small seed=0,1,2 trainer=cpu"
$command hydra.sweep.dir="$folder/sweep"
# A random half, for comparison: no proxy is trained for it, and the ceiling is known by now.
$command strategy=random pipeline.full=false hydra.sweep.dir="$folder/random"
rm -rf "$folder/report"  # figures of an earlier report are not to be kept
alframe-report "$folder/sweep" "$folder/random" --interval t --out "$folder/report"
python "$(dirname "$0")/keep_results.py" "$folder/report" svp_cifar10_small "$command" \
  accuracy_rows speed_up_kcenter wall_clock_kcenter
