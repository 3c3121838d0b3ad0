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
