#!/usr/bin/env bash
# Selection via Proxy on CIFAR-10 (see reproduce_svp_cifar10.sh) on a cluster: a job array of Slurm,
# one job for each run, and after it, whatever became of it, the report.
#   scripts/submit_slurm.sh FOLDER [WORDS...] [-- SBATCH...]
# WORDS are those of reproduce_svp.py (--small, --active, trainer.compile=false, ...), SBATCH those of
# sbatch, for the runs. Such as, with a GPU for each of at most 8 runs at a time:
#   scripts/submit_slurm.sh runs/svp --active -- --partition=gpu --gpus=1 --cpus-per-task=4 \
#       --mem=16G --time=4:00:00
# A job that is preempted, or at the end of its time, is told 120 s before, leaves its run after a
# step, is requeued, and goes on there. The same command again goes on with what is missing.
# AT_A_TIME=8 and REPORT="--partition=cpu" (sbatch's words for the report) may be set.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export PYTHONPATH="$here/..${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
[ $# -gt 0 ] || { sed -n '2,13s/^# \{0,1\}//p' "$0"; exit 2; }
folder=$1; shift
words=(); batch=()
while [ $# -gt 0 ]; do
  if [ "$1" = -- ]; then shift; batch=("$@"); break; fi
  words+=("$1"); shift
done
program=("${PYTHON:-python}" "$here/reproduce_svp.py" "$folder" ${words[@]+"${words[@]}"})
missing=$("${program[@]}" --missing)
mkdir -p "$folder/jobs"
job=$(mktemp)
trap 'rm -f "$job"' EXIT
cat > "$job" <<JOB
#!/usr/bin/env bash
code=0
srun $(printf '%q ' "${program[@]}") --only "\$SLURM_ARRAY_TASK_ID" || code=\$?
case \$code in  # 128 + USR1, USR2, TERM: it left, and can go on
  138|140|143) scontrol requeue "\${SLURM_ARRAY_JOB_ID}_\${SLURM_ARRAY_TASK_ID}" ;;
esac
exit \$code
JOB
after=()
if [ -n "$missing" ]; then
  array=$(sbatch --parsable --array="$missing%${AT_A_TIME:-8}" --requeue --signal=USR1@120 \
    --open-mode=append --output="$folder/jobs/%A_%a.out" --job-name=svp \
    ${batch[@]+"${batch[@]}"} "$job")
  after=("--dependency=afterany:$array")
  echo "$(tr , '\n' <<< "$missing" | wc -l) runs as job $array; what they print is in $folder/jobs"
fi
# shellcheck disable=SC2086 # REPORT is several words
report=$(sbatch --parsable ${after[@]+"${after[@]}"} --output="$folder/jobs/report_%j.out" \
  --job-name=svp-report ${REPORT:-} --wrap "$(printf '%q ' "${program[@]}" --list --keep)")
echo "the report as job $report"
