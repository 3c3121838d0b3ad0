#!/usr/bin/env bash
# Builds nodecomm and shows it at work: from a checkout to a checked table of all-reduce times.
# Installs packages if some are missing (root), and nothing else outside of build/. See deploy/README.md.
#
#   deploy/quickstart.sh              on the GPUs of this host, or on a simulated one if there are none
#   deploy/quickstart.sh --simulate   on a simulated host of 4 H100s in any case
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=deploy/packages.sh
source deploy/packages.sh

readonly bin=build/release/bin
readonly ready_seconds=60
readonly topology=tests/topologies/hgx-h100-x4.textproto

force_simulation=no
case "${1:-}" in
  "") ;;
  --simulate) force_simulation=yes ;;
  *)
    echo "usage: deploy/quickstart.sh [--simulate]" >&2
    exit 2
    ;;
esac

step() { printf '\n== %s\n' "$*"; }

# Compute capabilities of this host's GPUs as CMake lists them ("90;100"); those of an H100 without a GPU.
architectures() {
  local found
  found=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | grep -E '^[0-9]+\.[0-9]+$' |
    tr -d . | sort -un | paste -sd';') || true
  echo "${found:-90}"
}

count_gpus() {
  { nvidia-smi -L 2>/dev/null || true; } | grep -c '^GPU ' || true
}

step "Packages"
install_packages deploy/packages.txt
echo "all there"

step "Build"
configure_log=$(mktemp)
cmake --preset release "-DCMAKE_CUDA_ARCHITECTURES=$(architectures)" >"$configure_log" 2>&1 || {
  cat "$configure_log" >&2
  rm -f "$configure_log"
  exit 1
}
rm -f "$configure_log"
cmake --build --preset release

runtime_dir=$(mktemp -d)
log=$runtime_dir/nodecommd.log
daemon=
stop_daemon() {
  local status=0
  if [[ -n $daemon ]]; then
    kill -TERM "$daemon" 2>/dev/null || true
    wait "$daemon" || status=$?
    daemon=
  fi
  return "$status"
}
# Also on errors and interrupts: neither the daemon nor its directory stays.
trap 'stop_daemon || true; rm -rf "$runtime_dir"' EXIT

# The allocator is built only with CUDA.
gpus=$(count_gpus)
daemon_options=()
if [[ $force_simulation == no && $gpus -gt 0 && -x $bin/nodecomm-allocator ]]; then
  ranks=$((gpus > 8 ? 8 : gpus))
  step "Daemon on this host's $gpus GPUs"
else
  ranks=4
  daemon_options=(--simulate "$topology")
  step "Daemon on a simulated host of 4 H100s"
  if ((gpus > 0)) && [[ $force_simulation == no ]]; then
    echo "This host has GPUs, but no CUDA Toolkit (12.4 or later) was found to build with."
  fi
fi
"$bin/nodecommd" --runtime-dir "$runtime_dir" "${daemon_options[@]}" >"$log" 2>&1 &
daemon=$!

ready=no
for ((i = 0; i < ready_seconds * 10; ++i)); do
  if "$bin/nodecommctl" status --runtime-dir "$runtime_dir" >/dev/null 2>&1; then
    ready=yes
    break
  fi
  kill -0 "$daemon" 2>/dev/null || break
  sleep 0.1
done
if [[ $ready == no ]]; then
  echo "the daemon did not become ready; its log:" >&2
  cat "$log" >&2
  exit 1
fi
echo "ready"

step "Topology (nodecommctl topo)"
"$bin/nodecommctl" topo --runtime-dir "$runtime_dir"

step "All-reduce with $ranks ranks, every result checked (nodecomm-perf)"
perf_options=()
if ((${#daemon_options[@]} > 0)); then
  # Whatever GPUs CUDA sees here are not the simulated ones.
  perf_options=(--gpus "$ranks")
fi
"$bin/nodecomm-perf" -n "$ranks" -b 1K -e 64M -d bf16 --check --runtime-dir "$runtime_dir" "${perf_options[@]}" || {
  echo "nodecomm-perf failed; the daemon's log:" >&2
  cat "$log" >&2
  exit 1
}

stop_daemon || {
  echo "the daemon did not stop cleanly; its log:" >&2
  cat "$log" >&2
  exit 1
}
step "Done: everything right, daemon stopped. The programs are in $bin."
