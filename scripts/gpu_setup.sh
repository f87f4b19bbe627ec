#!/usr/bin/env bash
# Takes alframe to a GPU machine that has PyTorch and Lightning, but no network and no Hydra.
#   scripts/gpu_setup.sh pack [PACKER]   here: fills .carry/ with wheels, and with CIFAR-10 in two
#                                        parts of 53 MB, made by PACKER (a copy of pack_cifar10.py)
#   source scripts/gpu_setup.sh          there, at the head of each command: installs the wheels in
#                                        .carry/tools, and unpacks CIFAR-10 when both parts have come
# Where no more than 64 MB travel at a time: .carry/tools and .carry/1 with a first command, which
# only sources this file, .carry/tools and .carry/2 with the next. Finished runs travel by
# scripts/carry_runs.py. Then: scripts/reproduce_svp_cifar10.sh FOLDER --minutes 8
# Name one kind of machine for all pieces: speed-ups never mix devices, and a run that changes its
# device loses its seconds.
wheels=(hydra-core==1.3.8 omegaconf==2.3.1 antlr4-python3-runtime==4.9.3)
if [ "${1:-}" = pack ]; then
  set -euo pipefail
  data=${ALFRAME_DATA_DIR:-$HOME/.cache/alframe}
  packer=${2:-../shared/tools/pack_cifar10.py}
  mkdir -p .carry/tools .carry/1 .carry/2
  "${PYTHON:-python3}" -m pip wheel --quiet --no-deps --wheel-dir .carry/tools "${wheels[@]}"
  cp "$packer" .carry/tools/pack_cifar10.py
  if [ ! -f .carry/1/cifar10_part1.npz ] || [ ! -f .carry/2/cifar10_part2.npz ]; then
    "${PYTHON:-python3}" "$packer" pack "$data/cifar-10-batches-py" .carry
    mv .carry/cifar10_part1.npz .carry/1
    mv .carry/cifar10_part2.npz .carry/2
  fi
  du -sh .carry/*
else
  site=${ALFRAME_SITE:-/tmp/alframe_site}
  export ALFRAME_DATA_DIR=${ALFRAME_DATA_DIR:-/tmp/alframe_data} PYTHON=${PYTHON:-python3}
  if [ ! -d "$site" ]; then
    "$PYTHON" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir \
      --target "$site" .carry/tools/*.whl || echo "gpu_setup.sh: the wheels were not installed" >&2
  fi
  export PYTHONPATH="$PWD:$site${PYTHONPATH:+:$PYTHONPATH}"
  mkdir -p "$ALFRAME_DATA_DIR/parts"
  cp -n .carry/[12]/cifar10_part?.npz "$ALFRAME_DATA_DIR/parts/" 2>/dev/null || true
  parts=$(find "$ALFRAME_DATA_DIR/parts" -name 'cifar10_part?.npz' | wc -l)
  if [ ! -f "$ALFRAME_DATA_DIR/cifar-10-batches-py/batches.meta" ] && [ "$parts" = 2 ]; then
    "$PYTHON" .carry/tools/pack_cifar10.py unpack "$ALFRAME_DATA_DIR/parts" "$ALFRAME_DATA_DIR"
  fi
  [ -f "$ALFRAME_DATA_DIR/cifar-10-batches-py/batches.meta" ] ||
    echo "gpu_setup.sh: CIFAR-10 is not whole yet, $parts of 2 parts are there" >&2
fi
