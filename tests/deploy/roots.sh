# shellcheck shell=bash
# What is needed to make a root of this host's release, which is the one whose libraries the packages name. To be sourced by a script that
# has $work, a directory, and fail.

: "${work:?}"

step() { printf '== %s\n' "$*"; }
quietly() { "$@" >"$work/log" 2>&1 || fail "$*: $(tail -n 30 "$work/log")"; }

((EUID == 0)) || fail "only root can make another root"
command -v debootstrap >/dev/null || fail "no debootstrap here (package debootstrap)"

# make_root DIR OPTION...: of debootstrap.
make_root() {
  (
    # shellcheck source=/dev/null
    source /etc/os-release
    case $ID in
      ubuntu) archive=http://archive.ubuntu.com/ubuntu components=main,universe ;;
      *) archive=http://deb.debian.org/debian components=main ;;
    esac
    quietly debootstrap --variant=minbase --components="$components" "${@:2}" "$VERSION_CODENAME" "$1" \
      "${NODECOMM_MIRROR:-$archive}"
  )
}
