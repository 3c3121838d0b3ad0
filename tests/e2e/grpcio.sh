# shellcheck shell=bash
# A Python environment with gRPC's own Python packages, made once for all tests. To be sourced after daemon.sh.

venv=${NODECOMM_VENV:?a directory for the Python environment}
readonly grpcio_packages=(grpcio grpcio-health-checking grpcio-reflection)

# Skips the test (77) where they can't be installed: they come from a package index.
need_grpcio() {
  # Tests run beside each other.
  exec 9>"$venv.lock"
  flock 9
  if ! "$venv/bin/python" -c 'import grpc, grpc_health, grpc_reflection' 2>/dev/null; then
    if ! python3 -m venv "$venv" || ! "$venv/bin/pip" install -q --disable-pip-version-check "${grpcio_packages[@]}"; then
      echo "SKIPPED: ${grpcio_packages[*]} could not be installed into $venv"
      exit 77
    fi
  fi
  exec 9>&-
}
