# shellcheck shell=bash
# Installs the packages that a list names and that are missing. To be sourced; not a program.
# See deploy/README.md.

# install_packages FILE...: needs root only if something is missing.
install_packages() {
  local missing=()
  local package
  while read -r package; do
    # dpkg-query fails for packages it never heard of; those are missing too.
    if [[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" != installed ]]; then
      missing+=("$package")
    fi
  done < <(sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$@")
  if ((${#missing[@]} == 0)); then
    return 0
  fi
  if ((EUID != 0)); then
    echo "missing packages: ${missing[*]}; run this as root once, or install them yourself" >&2
    return 1
  fi
  echo "installing: ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}
