#!/usr/bin/env bash
# The search for five of CIFAR-10's finer concepts, 5 seeds: among all rows, among a random part, and
# among the neighbors of what is labeled (SEALS); the likeliest rows, or random ones. About a quarter
# of an hour on two CPU cores. The same command again goes on where it stopped.
#   scripts/seals_cifar10.sh [FOLDER]      run directories and the reports go there
set -euo pipefail
here=$(dirname "$0")
folder=${1:-runs/seals_cifar10}
common="experiment=seals_cifar10 seed=0,1,2,3,4 trainer=cpu logger=[]"
for concepts in icebreaker moose,fire_engine,ostrich,tabby; do
  place=hydra.sweep.dir="$folder/${concepts%%,*}"  # a sweep has one strategy, or sweeps it
  alframe -m $common concept="$concepts" candidates=all,seals "$place/likeliest"
  alframe -m $common concept="$concepts" candidates=random_subset candidates.size=8000 "$place/likeliest"
  alframe -m $common concept="$concepts" candidates=all,seals strategy=random "$place/random"
done
for part in icebreaker all; do
  runs=$folder
  [ "$part" = all ] || runs=$folder/$part
  out=$(mktemp -d)/report
  alframe-report "$runs" --interval t --out "$out"
  python "$here/keep_results.py" "$out" "seals_cifar10_$part" "scripts/seals_cifar10.sh" \
    concepts_average_precision concepts_positives_found
done
