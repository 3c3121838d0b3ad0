#!/usr/bin/env bash
# --check-config: good files, and bad ones with file, line and field.
# shellcheck source=tests/e2e/daemon.sh
source "$(dirname "$0")/daemon.sh"

config=$work/nodecommd.textproto
check() { "$NODECOMM_BIN/nodecommd" --config "$config" --check-config; }

cat >"$config" <<'TEXT'
log_level: "warning"
pool { planes_ready: 1 plane_bytes: 4194304 }
group { allow_gpu_sharing: true }
TEXT
check >/dev/null || fail "a good configuration is refused"

cat >"$config" <<'TEXT'
log_level: "info"
pool {
  plane_bites: 4194304
}
TEXT
expect_failure 1 "$config:3" check
expect_failure 1 "plane_bites" check

echo 'pool { plane_bytes: 3 }' >"$config"
expect_failure 1 "plane_bytes" check
expect_failure 1 "$config" check

rm "$config"
expect_failure 1 "$config" check

# A daemon does not start with what --check-config refuses.
echo 'pool { plane_bytes: 3 }' >"$config"
expect_failure 1 "plane_bytes" "$NODECOMM_BIN/nodecommd" --config "$config" --runtime-dir "$runtime" \
  --simulate "$topologies/hgx-h100-x4.textproto"

# Paths that no message takes, or that the kernel would cut.
printf 'metrics { textfile: "%s/\\377.prom" }' "$work" >"$config"
expect_failure 1 'field metrics.textfile: "'"$work"'/\377.prom" is not UTF-8' check
printf 'metrics { textfile: "%s/cut\\000.prom" }' "$work" >"$config"
expect_failure 1 'cut\000.prom" has a NUL byte' check
strange=$work/$'\xff'
cp "$topologies/hgx-h100-x4.textproto" "$strange"
: >"$config"
expect_failure 2 "'$work/\\377' is not UTF-8" "$NODECOMM_BIN/nodecommd" --simulate "$strange" --runtime-dir "$runtime"
expect_failure 2 "'$work/\\377' is not UTF-8" "$NODECOMM_BIN/nodecommd" --config "$strange" --check-config
for program in "nodecommd --check-config" nodecommctl "nodecomm-perf -n 1"; do
  read -ra words <<<"$program"
  expect_failure 2 "'$work/\\377' is not UTF-8" "$NODECOMM_BIN/${words[0]}" "${words[@]:1}" --runtime-dir "$strange"
done

# A reload quotes such bytes, and status tells of it.
start_simulated hgx-h100-x4 --config "$config"
printf 'log_level: "\xff"' >"$config"
kill -HUP "$daemon"
for ((i = 0; i < 200; ++i)); do
  ctl status >"$work/status" 2>&1 && grep -q "is none of" "$work/status" && break
  sleep 0.05
done
grep -q '"?" is none of trace' "$work/status" || fail "status does not tell of the reload: $(cat "$work/status")"
stop_daemon
