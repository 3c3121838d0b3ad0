#!/usr/bin/env bash
# nodecomm-perf --sweep on a simulated host: every algorithm at every size, right in every bit, and compared.
# shellcheck source=tests/e2e/daemon.sh
source "$(dirname "$0")/daemon.sh"

start_simulated hgx-h100-x4
perf -n 4 --gpus 4 --sweep -b 2K -e 8K -d f32,bf16 --check --json "$work/sweep.json" >"$work/sweep.txt"
rows=$(grep -cE '^ +[0-9]+ +[0-9]+ +(f32|bf16) ' "$work/sweep.txt") || true
((rows == 10)) || fail "$rows rows, not 10: $(cat "$work/sweep.txt")"
for type in f32 bf16; do
  grep -q "^# $type: .*is the fastest" "$work/sweep.txt" || fail "no crossover of $type"
  grep -q "^# $type: auto takes one_shot up to 8 KiB;" "$work/sweep.txt" || fail "auto of $type"
done
for algorithm in auto one_shot two_shot; do
  expect_json "$work/sweep.json" "[(r['type'], r['bytes']) for r in d['results'] if r['requested'] == '$algorithm'] ==
    [(t, b) for t in ('f32', 'bf16') for b in (2048, 3072, 4096, 6144, 8192)]"
done
expect_json "$work/sweep.json" 'all(r["wrong"] == 0 and r["latency_us"] > 0 for r in d["results"])'
expect_json "$work/sweep.json" 'all(r["algorithm"] == r["requested"] for r in d["results"] if r["requested"] != "auto")'
# What is compared is what was measured.
expect_json "$work/sweep.json" '[s["two_shot_us"] for s in d["sweep"]["sizes"]] ==
  [r["latency_us"] for r in d["results"] if r["requested"] == "two_shot"]'
expect_json "$work/sweep.json" 'all(abs((s["auto_us"] / min(s["one_shot_us"], s["two_shot_us"]) - 1) * 100 -
  s["auto_loss_percent"]) < 0.1 for s in d["sweep"]["sizes"])'
expect_json "$work/sweep.json" '[c["type"] for c in d["sweep"]["crossovers"]] == ["f32", "bf16"]'

# A step of the user's own has no midpoints.
perf -n 2 --gpus 4 --sweep -b 1K -e 16K -f 4 --json "$work/step.json" >/dev/null
expect_json "$work/step.json" '[s["bytes"] for s in d["sweep"]["sizes"]] == [1024, 4096, 16384]'

expect_failure 2 "one rank has one algorithm" perf -n 1 --sweep
expect_failure 2 "--algorithm" perf -n 2 --sweep --algorithm one_shot
expect_failure 2 "--sweep" perf -n 2 --sweep --random 10
stop_daemon
