#!/usr/bin/env bash
# The README's first figure: active against passive learning on digits, 5 seeds. Some minutes on two
# CPU cores. The same command again goes on where it was stopped.
#   scripts/digits_active.sh [FOLDER]      run directories and the report go there
set -euo pipefail
folder=${1:-runs/figure_digits_active}
command="alframe -m strategy=random,entropy,margin,kcenter seed=0,1,2,3,4 trainer=cpu"
$command hydra.sweep.dir="$folder/sweep"
rm -rf "$folder/report"  # figures of an earlier report are not to be kept
alframe-report "$folder/sweep" --out "$folder/report" --interval t --target-accuracy 0.95
python "$(dirname "$0")/keep_results.py" "$folder/report" digits_active "$command" accuracy_labels
