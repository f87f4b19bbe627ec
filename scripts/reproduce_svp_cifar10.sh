#!/usr/bin/env bash
# Selection via Proxy (Coleman et al., ICLR 2020) on CIFAR-10: a ResNet-20 picks what a ResNet-164
# trains on; 181- and 50-epoch proxies, five strategies, half and 30 % of the rows, three seeds. The
# headline comes first. Hours of a GPU; the same command again goes on where it was stopped.
#   scripts/reproduce_svp_cifar10.sh [FOLDER]               all of it
#   scripts/reproduce_svp_cifar10.sh [FOLDER] --minutes 9   a piece; a fit that is not over is kept
#   scripts/reproduce_svp_cifar10.sh [FOLDER] --active      also the active-learning form
#   scripts/reproduce_svp_cifar10.sh [FOLDER] --list        what is done, and what is missing
#   scripts/reproduce_svp_cifar10.sh [FOLDER] --small       the same way with tiny models, on a CPU
# python reproduce_svp.py --help tells the rest. alframe need not be installed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export PYTHONPATH="$here/..${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
exec "${PYTHON:-python}" "$here/reproduce_svp.py" "$@"
