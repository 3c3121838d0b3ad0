#!/usr/bin/env bash
# nodecomm-perf on real GPUs: every world size that fits, every type, graphs and eager calls, shared GPUs, random calls.
# Usage: tests/e2e/gpu_checks.sh DIRECTORY-OF-THE-PROGRAMS. NODECOMM_RANDOM_CALLS: how many random calls (10,000).
export NODECOMM_BIN=${1:?the directory of the programs}
# shellcheck source=tests/e2e/daemon.sh
source "$(dirname "$0")/daemon.sh"

gpus=$(nvidia-smi -L | grep -c '^GPU ')
((gpus > 0)) || fail "no GPU"
random_calls=${NODECOMM_RANDOM_CALLS:-10000}

start_daemon
ctl topo
if nvidia-smi --query-compute-apps=pid --format=csv,noheader | grep -qx "$daemon"; then
  fail "the daemon is a compute process"
fi
for ((ranks = 1; ranks <= gpus && ranks <= 8; ++ranks)); do
  for mode in graph eager; do
    perf -n "$ranks" -b 1K -e 64M -d f32,f16,bf16 --mode "$mode" --check
    perf -n "$ranks" -b 6 -e 16M -f 7 -d f16 --mode "$mode" --check --iters 3
    perf -n "$ranks" -b 1K -e 4M -f 4 -d bf16 --mode "$mode" --check --in-place --iters 3
  done
done
perf -n "$((gpus > 8 ? 8 : gpus))" --random "$random_calls" --seed 1
stop_daemon

# Two ranks a GPU take turns on it, so every call costs milliseconds: few and small ones.
echo 'group { allow_gpu_sharing: true }' >"$work/sharing.textproto"
start_daemon --config "$work/sharing.textproto"
ranks=$((gpus * 2 > 8 ? 8 : gpus * 2))
perf -n "$ranks" -b 1K -e 1M -f 8 -d f32,f16,bf16 --check
perf -n "$ranks" -b 1K -e 256K -f 16 -d bf16 --mode eager --check
stop_daemon
echo "all GPU checks passed"
