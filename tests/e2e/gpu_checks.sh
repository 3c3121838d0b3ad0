#!/usr/bin/env bash
# nodecomm-perf on real GPUs: every world size that fits, every type, graphs and eager calls, shared GPUs, random calls. And
# that a drained GPU is let go of.
# Usage: tests/e2e/gpu_checks.sh DIRECTORY-OF-THE-PROGRAMS. NODECOMM_RANDOM_CALLS: how many random calls (10,000).
export NODECOMM_BIN=${1:?the directory of the programs}
# shellcheck source=tests/e2e/daemon.sh
source "$(dirname "$0")/daemon.sh"

gpus=$(nvidia-smi -L | grep -c '^GPU ')
((gpus > 0)) || fail "no GPU"
random_calls=${NODECOMM_RANDOM_CALLS:-10000}

# holders DEVICE-FILE PID: those of the process and its descendants that have the file open or mapped.
holders() {
  local file=$1 pid=$2 child
  if [[ -n $(find "/proc/$pid/fd" -lname "$file" 2>/dev/null) ]] || grep -qs " $file\$" "/proc/$pid/maps"; then
    echo "process $pid ($(cat "/proc/$pid/comm"))"
  fi
  # A file of each thread's, in which the children are words.
  while read -rd ' ' child; do holders "$file" "$child"; done < <(cat /proc/"$pid"/task/*/children 2>/dev/null)
}

# A GPU that is drained can be reset, which it can't be while anybody has its device file open.
check_drain() {
  local uuid minor file held
  ctl pools --json >"$work/pools.json"
  uuid=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["pools"][0]["gpu_uuid"])' <"$work/pools.json")
  minor=$(nvidia-smi -q -i "$uuid" | sed -n 's/.*Minor Number *: *\([0-9]*\).*/\1/p')
  file=/dev/nvidia$minor
  [[ -n $(holders "$file" "$daemon") ]] || fail "nobody holds $file of $uuid before the drain: this looks at the wrong one"
  ctl drain --gpu "$uuid" --abort --timeout 60
  held=$(holders "$file" "$daemon")
  [[ -z $held ]] || fail "$uuid is drained, but $file is held by $held"
  ctl undrain --gpu "$uuid"
  perf -n 1 -b 1K -e 1K --check
}

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
check_drain
stop_daemon

# Every world size that there are not enough GPUs for. Ranks of one GPU take turns on it, so every call costs milliseconds: few
# ones.
echo 'group { allow_gpu_sharing: true }' >"$work/sharing.textproto"
start_daemon --config "$work/sharing.textproto"
for ((ranks = gpus + 1; ranks <= 8; ++ranks)); do
  perf -n "$ranks" -b 1K -e 64M -f 4 -d f32,f16,bf16 --check --iters 1 --warmup 1
  perf -n "$ranks" -b 1K -e 256K -f 16 -d bf16 --mode eager --check --iters 3
done
stop_daemon
echo "all GPU checks passed"
