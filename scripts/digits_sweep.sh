#!/usr/bin/env bash
# Five strategies by five seeds on digits, compared: curves, penalty matrix, labels to an accuracy.
# A few minutes on two CPU cores. The same command again goes on where it stopped.
#   scripts/digits_sweep.sh [FOLDER]      run directories and the report go there
set -euo pipefail
here=$(dirname "$0")
folder=${1:-runs/figure_digits_sweep}
command="alframe -m strategy=random,entropy,margin,kcenter,badge seed=0,1,2,3,4 trainer=cpu"
$command hydra.sweep.dir="$folder/sweep" hydra/launcher=joblib hydra.launcher.n_jobs=2
rm -rf "$folder/report"  # figures of an earlier report are not to be kept
alframe-report "$folder/sweep" --out "$folder/report" --target-accuracy 0.95
python "$here/keep_results.py" "$folder/report" digits_sweep "$command" \
  accuracy_labels penalty profile
