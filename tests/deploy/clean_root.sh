#!/usr/bin/env bash
# The packages on a Debian or Ubuntu that has nothing else: installed, upgraded, removed, purged; a user's project built against them;
# the unit under a systemd of its own. As root; needs debootstrap, and systemd-nspawn for the last part. See tests/deploy/README.md.
#
#   tests/deploy/clean_root.sh DIR      with the packages in DIR
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
packages=$(cd "${1:?the directory of the packages}" && pwd)
readonly boot_seconds=300
work=$(mktemp -d /var/tmp/nodecomm-root.XXXXXX)
root=$work/root
trap 'rm -rf --one-file-system "$work"' EXIT

fail() {
  echo "FAILED: $*" >&2
  exit 1
}
in_root() { DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 chroot "$root" "$@"; }
# shellcheck source=tests/deploy/roots.sh
source "$here/roots.sh"

# raise_version FROM TO: the same packages as if they were the next revision.
raise_version() {
  local deb version tree
  mkdir -p "$2"
  for deb in "$1"/*.deb; do
    tree=$work/tree
    rm -rf "$tree"
    dpkg-deb --raw-extract "$deb" "$tree"
    version=$(dpkg-deb --field "$deb" Version)
    sed -i "s/$version/${version}.1/" "$tree/DEBIAN/control"
    dpkg-deb --build --root-owner-group "$tree" "$2" >/dev/null
  done
}

expect_installed() {
  local version
  # shellcheck disable=SC2016 # dpkg-query's own fields
  version=$(in_root dpkg-query -W -f '${db:Status-Status} ${Version}' "$1") || true
  [[ $version == "installed $2" ]] || fail "$1 is '$version', not $2"
}

step "a clean root"
make_root "$root" --include=systemd-sysv
cp /etc/resolv.conf "$root/etc/resolv.conf"
mkdir -p "$root/nodecomm/first"
cp "$packages"/*.deb "$root/nodecomm/first"
raise_version "$root/nodecomm/first" "$root/nodecomm/next"
cp -r "$here/consumer" "$here/inside_root.sh" "$here/../topologies/hgx-h100-x4.textproto" \
  "$here/../topologies/hgx-h100-x8-fabric-starting.textproto" "$root/nodecomm"
first=$(dpkg-deb --field "$(echo "$packages"/nodecomm_*.deb)" Version)
next=$first.1
quietly in_root apt-get update
# What is here before: at the end nothing else may be left.
(cd "$root" && find etc usr/bin usr/sbin usr/lib usr/libexec usr/share -name '*nodecomm*' | sort) >"$work/before"
[[ ! -s $work/before ]] || fail "the root is not clean: $(cat "$work/before")"

step "install"
quietly in_root sh -c 'apt-get install -y --no-install-recommends /nodecomm/first/nodecomm_*.deb /nodecomm/first/libnodecomm1_*.deb'
expect_installed nodecomm "$first"
in_root getent passwd nodecomm >/dev/null || fail "no user nodecomm"
[[ " $(in_root id -nG nodecomm) " == *" video "* ]] || fail "nodecomm is not in the group video"
[[ -L $root/etc/systemd/system/multi-user.target.wants/nodecommd.service ]] || fail "the unit is not enabled"
in_root nodecommd --check-config --config /etc/nodecomm/nodecommd.textproto >/dev/null || fail "the configuration is not good"
for program in nodecommd nodecommctl nodecomm-perf; do
  in_root "$program" --version >/dev/null || fail "$program does not run"
done
[[ $(in_root ldconfig -p) == *"libnodecomm.so.1 "* ]] || fail "the linker does not know the library"

step "upgrade: the administrator's configuration and decisions stay"
echo 'log_level: "warning"' >>"$root/etc/nodecomm/nodecommd.textproto"
in_root systemctl disable nodecommd.service >/dev/null 2>&1
quietly in_root sh -c 'apt-get install -y /nodecomm/next/nodecomm_*.deb /nodecomm/next/libnodecomm1_*.deb'
expect_installed nodecomm "$next"
expect_installed libnodecomm1 "$next"
grep -q '^log_level: "warning"' "$root/etc/nodecomm/nodecommd.textproto" || fail "the configuration was replaced"
[[ ! -e $root/etc/systemd/system/multi-user.target.wants/nodecommd.service ]] || fail "the unit was enabled again"

step "remove: programs go, the configuration stays; purge: nothing stays but the user"
quietly in_root apt-get remove -y nodecomm libnodecomm1
[[ ! -e $root/usr/sbin/nodecommd ]] || fail "the program is still there"
[[ -e $root/etc/nodecomm/nodecommd.textproto ]] || fail "the configuration went at a removal"
quietly in_root apt-get purge -y nodecomm libnodecomm1
# What dpkg itself keeps of a package that was there is in var.
(cd "$root" && find etc usr var/lib/systemd run -name '*nodecomm*' | sort) >"$work/after"
[[ ! -s $work/after ]] || fail "left behind: $(cat "$work/after")"
in_root getent passwd nodecomm >/dev/null || fail "the user went"

step "install again, and a user's project"
quietly in_root sh -c 'apt-get install -y --no-install-recommends /nodecomm/first/*.deb cmake make g++ pkg-config'
[[ -L $root/etc/systemd/system/multi-user.target.wants/nodecommd.service ]] || fail "the unit is not enabled after purge and install"
quietly in_root sh -c 'cmake -S /nodecomm/consumer -B /nodecomm/built && cmake --build /nodecomm/built'
# shellcheck disable=SC2016 # the root's own pkg-config is meant
quietly in_root sh -c 'cc /nodecomm/consumer/worker.c -o /nodecomm/built/worker $(pkg-config --cflags --libs nodecomm)'

step "the unit, under a systemd of its own"
if ! command -v systemd-nspawn >/dev/null; then
  echo "skipped: no systemd-nspawn here (package systemd-container)"
  exit 0
fi
mkdir -p "$root/etc/systemd/system/nodecommd.service.d"
cat >"$root/etc/systemd/system/nodecommd.service.d/simulate.conf" <<'UNIT'
[Service]
ExecStart=
ExecStart=/usr/sbin/nodecommd --config /etc/nodecomm/nodecommd.textproto --simulate /nodecomm/host.textproto
UNIT
cat >"$root/etc/systemd/system/check.service" <<'UNIT'
[Unit]
After=basic.target
[Service]
Type=oneshot
ExecStart=/nodecomm/inside_root.sh
StandardOutput=append:/nodecomm/said
StandardError=inherit
ExecStopPost=/bin/systemctl --no-block poweroff
[Install]
WantedBy=multi-user.target
UNIT
cp "$root/nodecomm/hgx-h100-x8-fabric-starting.textproto" "$root/nodecomm/host.textproto"
in_root systemctl enable check.service >/dev/null 2>&1
timeout --kill-after=10 "$boot_seconds" systemd-nspawn --directory="$root" --boot --register=no --keep-unit \
  --machine="nodecomm-check-$$" --setenv=SYSTEMD_COLORS=0 </dev/null >"$work/log" 2>&1 || true
if [[ ! -s $root/nodecomm/said ]]; then
  # Where containers may not be made (no cgroups, say) nothing was tried.
  if ! grep -q 'Reached target' "$work/log"; then
    echo "skipped: no systemd can be started in a container here: $(tail -n 3 "$work/log")"
    exit 0
  fi
  fail "the check did not run: $(tail -n 30 "$work/log")"
fi
grep -qx ok "$root/nodecomm/said" || fail "under systemd: $(cat "$root/nodecomm/said")"
sed -n 's/^== /   /p' "$root/nodecomm/said"
echo ok
