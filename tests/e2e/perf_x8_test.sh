#!/usr/bin/env bash
# Eight ranks: one a GPU on a host of eight, and two a GPU on a host of four that allows sharing.
# shellcheck source=tests/e2e/daemon.sh
source "$(dirname "$0")/daemon.sh"

start_simulated hgx-h100-x8
perf -n 8 -b 1K -e 256K -f 4 -d f32,bf16 --check --gpus 8 --json "$work/8.json"
expect_json "$work/8.json" \
  'len(d["results"]) == 10 and all(r["ranks"] == 8 and r["wrong"] == 0 for r in d["results"])'
for ranks in 5 6 7; do
  perf -n "$ranks" -b 1K -e 64K -f 8 -d f16 --check --gpus 8
done
perf -n 8 --random 60 --seed 3 --gpus 8
stop_daemon

echo 'group { allow_gpu_sharing: true }' >"$work/sharing.textproto"
start_simulated hgx-h100-x4 --config "$work/sharing.textproto"
perf -n 8 -b 1K -e 64K -f 8 -d bf16 --check --gpus 4
stop_daemon
