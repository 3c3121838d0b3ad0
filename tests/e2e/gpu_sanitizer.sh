#!/usr/bin/env bash
# nodecomm-perf under compute-sanitizer on real GPUs: every protocol, lean and full, one chunk and many, and checked mode, looked at for wrong
# accesses, for races in shared memory and for barriers that threads of a block meet in two places.
# Usage: tests/e2e/gpu_sanitizer.sh DIRECTORY-OF-THE-PROGRAMS [TOOL [RANKS]]: one tool alone, with so many ranks alone. All
# three with 2 to all ranks take many minutes.
export NODECOMM_BIN=${1:?the directory of the programs}
# shellcheck source=tests/e2e/daemon.sh
source "$(dirname "$0")/daemon.sh"

command -v compute-sanitizer >/dev/null || fail "no compute-sanitizer: it comes with the CUDA Toolkit"
gpus=$(nvidia-smi -L | grep -c '^GPU ')
((gpus > 0)) || fail "no GPU"

# checked TOOL OPTION...: also fails where a result is wrong.
checked() {
  local tool=$1 log=$work/sanitizer.log
  shift
  echo "$tool: nodecomm-perf $*"
  if ! compute-sanitizer --tool "$tool" --target-processes all --error-exitcode 1 \
    "$NODECOMM_BIN/nodecomm-perf" --runtime-dir "$runtime" --check --iters 1 --warmup 1 "$@" >"$log" 2>&1; then
    tail -n 60 "$log"
    fail "$tool found something, or the run failed"
  fi
  # Else the tool looked at nothing: a rank is a process of its own.
  grep -q 'SUMMARY' "$log" || fail "$tool wrote no summary"
}

echo 'group { allow_gpu_sharing: true }' >"$work/sharing.textproto"
start_daemon --config "$work/sharing.textproto"
first=${3:-2}
last=${3:-$((gpus > 8 ? 8 : gpus > 2 ? gpus : 2))}
for tool in ${2:-memcheck racecheck synccheck}; do
  for ((ranks = first; ranks <= last; ++ranks)); do
    for mode in graph eager; do
      # A packet a thread, of each protocol, and several.
      checked "$tool" -n "$ranks" -b 1K -e 4M -f 16 -d bf16,f16,f32 --mode "$mode"
      # Odd sizes: all code.
      checked "$tool" -n "$ranks" -b 1030 -e 32K -f 31 -d f16 --mode "$mode"
      # Several chunks, which take credits.
      checked "$tool" -n "$ranks" -b 4M -e 4M -d bf16 --mode "$mode" --plane-bytes 4M
      # What ranks tell each other before a call.
      NODECOMM_CHECKED=1 checked "$tool" -n "$ranks" -b 1K -e 64K -f 64 -d bf16 --mode "$mode"
    done
  done
done
stop_daemon
echo "compute-sanitizer found nothing"
