# shellcheck shell=bash
# The archive that debootstrap makes a root from, of this host's release: packages name the libraries of the one that they were built
# on. Sets mirror, components and, from os-release, VERSION_CODENAME.

# shellcheck source=/dev/null
source /etc/os-release
case $ID in
  ubuntu) mirror=http://archive.ubuntu.com/ubuntu components=main,universe ;;
  *) mirror=http://deb.debian.org/debian components=main ;;
esac
# shellcheck disable=SC2034 # for whoever sources this
readonly mirror=${NODECOMM_MIRROR:-$mirror} components
