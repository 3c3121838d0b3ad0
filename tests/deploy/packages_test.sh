#!/usr/bin/env bash
# The packages of this build: made, clean to lintian, with what belongs in each; and a user's project that is built against them and
# reduces. Nothing is installed on this host; that is for clean_root.sh.
set -euo pipefail

: "${NODECOMM_BUILD:?the build directory}" "${NODECOMM_CMAKE:?}" "${NODECOMM_CPACK:?}"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d /tmp/nodecomm-deb.XXXXXX)
daemon=
cleanup() {
  if [[ -n $daemon ]]; then
    kill -KILL "$daemon" 2>/dev/null || true
    wait "$daemon" 2>/dev/null || true
  fi
  rm -rf "$work"
}
trap cleanup EXIT

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

if ! command -v dpkg-shlibdeps >/dev/null; then
  echo "skipped: no dpkg-shlibdeps here (package dpkg-dev)"
  exit 77
fi

"$NODECOMM_CPACK" --config "$NODECOMM_BUILD/CPackConfig.cmake" -G DEB -B "$work/packages" >"$work/cpack.log" 2>&1 ||
  fail "cpack: $(tail -n 20 "$work/cpack.log")"
rm -rf "$work/packages/_CPack_Packages"
names=$(cd "$work/packages" && printf '%s\n' *.deb | sed 's/_.*//' | sort | xargs)
[[ $names == "libnodecomm-dev libnodecomm1 nodecomm" ]] || fail "the packages are: $names"

if command -v lintian >/dev/null; then
  # Not for Debian's archive, so no bug of its tracker is closed.
  lintian --fail-on error,warning --suppress-tags initial-upload-closes-no-bugs "$work"/packages/*.deb ||
    fail "lintian complains"
else
  echo "lintian is not here and is not asked"
fi

root=$work/root
for package in "$work"/packages/*.deb; do
  dpkg-deb --extract "$package" "$root"
done
multiarch=$(dpkg-architecture -qDEB_HOST_MULTIARCH)
for file in usr/sbin/nodecommd usr/bin/nodecommctl usr/bin/nodecomm-perf usr/libexec/nodecomm/nodecomm-probe \
  usr/libexec/nodecomm/nodecomm-watcher etc/nodecomm/nodecommd.textproto usr/lib/systemd/system/nodecommd.service \
  usr/lib/sysusers.d/nodecomm.conf "usr/lib/$multiarch/libnodecomm.so.1" "usr/lib/$multiarch/libnodecomm.so" \
  "usr/lib/$multiarch/pkgconfig/nodecomm.pc" usr/include/nodecomm/nodecomm.h usr/include/nodecomm/nodecomm.hpp; do
  [[ -e $root/$file ]] || fail "no package has $file"
done
# What the pages for operators name is there, too: files of a certain kind, and folders in quotes.
documents=$root/usr/share/doc/nodecomm
for page in RUNBOOK.md UPGRADE.md; do
  # shellcheck disable=SC2016 # Markdown's quotes, not the shell's
  named=$(grep -oE '[A-Za-z/_-]+\.(md|ya?ml|json|gz)|`[a-z][a-z/]*/`' "$documents/$page" | tr -d '`' | sort -u)
  [[ -n $named ]] || fail "$page names no file"
  for file in $named; do
    [[ -e $documents/$file ]] || fail "$page names $file, which no package has"
  done
done
for file in monitoring/alerts.yml monitoring/dashboard.json container/daemonset.yaml; do
  [[ -e $documents/$file ]] || fail "no package has $documents/$file"
done
for package in nodecomm libnodecomm1; do
  dpkg-deb --field "$work/packages/$package"_*.deb Depends | grep -q 'libgrpc++' || fail "$package does not depend on gRPC"
done
[[ $(dpkg-deb --info "$work"/packages/nodecomm_*.deb conffiles) == /etc/nodecomm/nodecommd.textproto ]] ||
  fail "the configuration is no conffile"
"$root/usr/sbin/nodecommd" --check-config --config "$root/etc/nodecomm/nodecommd.textproto" >/dev/null ||
  fail "the configuration that is installed is not good"

# A user's build, by either way to find the library.
export CMAKE_PREFIX_PATH=$root/usr PKG_CONFIG_PATH=$root/usr/lib/$multiarch/pkgconfig
{
  "$NODECOMM_CMAKE" -S "$here/consumer" -B "$work/consumer" && "$NODECOMM_CMAKE" --build "$work/consumer"
} >"$work/consumer.log" 2>&1 || fail "the consumer: $(cat "$work/consumer.log")"
read -ra flags <<<"$(pkg-config --cflags --libs nodecomm)"
cc -std=c99 -Wall -Werror "$here/consumer/worker.c" -o "$work/worker" "${flags[@]}" || fail "pkg-config's flags do not do"
[[ $(pkg-config --modversion nodecomm) == "$(dpkg-deb --field "$work"/packages/libnodecomm-dev_*.deb Version | sed 's/-.*//')" ]] ||
  fail "pkg-config names another version"
if "$NODECOMM_CMAKE" -S "$here/consumer" -B "$work/newer" -DCMAKE_PROJECT_INCLUDE="$here/consumer/newer.cmake" >"$work/newer.log" 2>&1; then
  fail "a version that is not there was found"
fi

# One rank of each kind, with the daemon of the package: it finds its programs where they are installed.
export NODECOMM_RUNTIME_DIR=$work/run LD_LIBRARY_PATH=$root/usr/lib/$multiarch
mkfifo "$work/said"
"$root/usr/sbin/nodecommd" --simulate "$here/../topologies/hgx-h100-x4.textproto" >"$work/said" 2>"$work/log" &
daemon=$!
said=
read -r -t 60 said <"$work/said" || true
[[ $said == ready ]] || fail "the daemon of the package is not ready: $(cat "$work/log")"
sums=$({
  "$work/consumer/worker_c" 0 3 &
  "$work/consumer/worker_cpp" 1 3 &
  "$work/worker" 2 3 &
  wait
} 2>&1 | sort | xargs)
[[ $sums == "6 6 6" ]] || fail "the workers say: $sums"
echo ok
