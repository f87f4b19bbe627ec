#!/usr/bin/env bash
# Every strategy on digits, in each pipeline that it is defined in, 5 seeds; ranked by the area under
# its curve. About half an hour on two CPU cores. The same command again goes on where it stopped.
#   scripts/digits_strategies.sh [FOLDER]      run directories and the reports go there
set -euo pipefail
here=$(dirname "$0")
folder=${1:-runs/figure_digits_strategies}
seeds=seed=0,1,2,3,4
for pipeline in active_learning core_set; do
  names=$(python "$here/strategies_page.py" --list "$pipeline")
  if [ "$pipeline" = active_learning ]; then
    # Dropout for the strategies that draw from it, in all runs alike.
    options="target.model.dropout=0.1 schedule.query_size=40 schedule.budget=220"
  else
    options="experiment=digits_svp learner@target=mlp proxy.model.dropout=0.1 pipeline.sizes=[0.05,0.1,0.2] pipeline.full=false"
  fi
  command="alframe -m strategy=EACH $seeds trainer=cpu $options"
  ${command/EACH/$names} hydra.sweep.dir="$folder/$pipeline"
  rm -rf "$folder/report_$pipeline"  # figures of an earlier report are not to be kept
  alframe-report "$folder/$pipeline" --interval t --out "$folder/report_$pipeline"
  python "$here/keep_results.py" "$folder/report_$pipeline" "digits_strategies_$pipeline" \
    "$command" "ranking_$pipeline"
done
