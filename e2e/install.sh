#!/usr/bin/env bash
# Installs what the end-to-end and PostgreSQL tests need, unless it is there, and says what is missing when it cannot.
#
#   e2e/install.sh [PART...]      without parts: all of them, but those in GATEHOUSE_E2E_SKIP (such as keycloak,dex)
#
#   base       PostgreSQL, Chromium, nginx and valgrind, and the Node packages pinned in node and conformance
#   python     two versions of the Python SDK, pinned in python, each in a virtual environment of its own
#   keycloak   Java and Maven, and with them the distribution from Maven Central
#   dex        built from the Go module pinned in idp/dex/go.mod
#
# What comes from the system is installed on Debian, as root; elsewhere the message names what is missing.
# All but base go to $GATEHOUSE_E2E_CACHE, or gatehouse-e2e in the user's cache directory. The tests install these
# by themselves when they get there. Each part prints where it is, as its last line.
set -euo pipefail
cd "$(dirname "$0")"

keycloak_version=26.7.3
cache=${GATEHOUSE_E2E_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/gatehouse-e2e}

missing() {
  echo "missing: $1; $2" >&2
  exit 1
}

# Debian packages, as root; elsewhere it says which commands are missing.
debian() {
  if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
    missing "$*" "install them with your package manager (on Debian: apt-get install $*)${hint:+, or $hint}"
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

install_base() {
  local need=() hint=
  compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || need+=(postgresql)
  command -v chromium >/dev/null || need+=(chromium)
  command -v nginx >/dev/null || need+=(nginx-light)
  command -v callgrind_control >/dev/null || need+=(valgrind)
  ((!${#need[@]})) || debian "${need[@]}"
  if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
    missing "Node.js 20 or newer with npm" "install it"
  fi
  npm_packages node
  npm_packages conformance # brings its own Node 22 on Linux on x64; elsewhere the installed one must be 22
  echo "$PWD/node/node_modules"
}

npm_packages() {
  cmp -s "$1/package-lock.json" "$1/node_modules/.installed-lock" && return
  (cd "$1" && npm ci --no-progress)
  cp "$1/package-lock.json" "$1/node_modules/.installed-lock"
}

# Python refuses to move a virtual environment, so it is made in its place and marked when it is whole.
install_python() {
  command -v python3 >/dev/null || missing python3 "install Python 3.10 or newer with its venv module, or set GATEHOUSE_E2E_SKIP=python"
  local version venv
  for version in 1 2; do
    venv=$cache/python-$version
    cmp -s "python/requirements-$version.txt" "$venv/.installed" && continue
    rm -rf "$venv"
    python3 -m venv "$venv" >&2 || missing "the venv module of Python" "install it (on Debian: apt-get install python3-venv)"
    "$venv/bin/pip" install -q --disable-pip-version-check -r "python/requirements-$version.txt" >&2
    cp "python/requirements-$version.txt" "$venv/.installed"
  done
  echo "$cache"
}

# Unpacks into a directory beside the final one and renames it last, so that a broken run leaves nothing half done. The
# build step of Keycloak (choice of database and the like) is done here, once, to make each start short.
install_keycloak() {
  local home=$cache/keycloak-$keycloak_version
  if [[ ! -d $home ]]; then
    local need=() hint="set GATEHOUSE_E2E_SKIP=keycloak"
    command -v java >/dev/null || need+=(default-jre-headless)
    command -v mvn >/dev/null || need+=(maven)
    ((!${#need[@]})) || debian "${need[@]}"
    local java
    java=$(java -version 2>&1 | sed -nE '1s/.*version "([0-9]+).*/\1/p')
    ((${java:-0} >= 17)) || missing "Java 17 or newer for Keycloak; this is ${java:-unknown}" "install it, or $hint"
    work=$(mktemp -d -p "$cache")
    trap 'rm -rf "$work"' EXIT
    (cd "$work" && mvn -B -q -ntp org.apache.maven.plugins:maven-dependency-plugin:3.8.1:unpack \
      -Dartifact="org.keycloak:keycloak-quarkus-dist:$keycloak_version:zip" -DoutputDirectory="$work" >&2)
    "$work/keycloak-$keycloak_version/bin/kc.sh" build --db=dev-mem >&2
    mv "$work/keycloak-$keycloak_version" "$home"
  fi
  echo "$home"
}

# Dex's own go.mod has a replacement, which `go install MODULE@VERSION` refuses: hence a module of our own around it.
install_dex() {
  command -v go >/dev/null || missing "Go, for Dex" "install it, or set GATEHOUSE_E2E_SKIP=dex"
  local version
  version=$(cd idp/dex && go list -m -f '{{.Version}}' github.com/dexidp/dex)
  local binary=$cache/dex-$version
  if [[ ! -x $binary ]]; then
    (cd idp/dex && CGO_ENABLED=0 go build -o "$binary.new" github.com/dexidp/dex/cmd/dex >&2)
    mv "$binary.new" "$binary"
  fi
  echo "$binary"
}

parts=("$@")
if ((!$#)); then
  for part in base python keycloak dex; do
    [[ ,${GATEHOUSE_E2E_SKIP:-}, == *,$part,* ]] || parts+=("$part")
  done
fi
mkdir -p "$cache"
! command -v flock >/dev/null || { exec 9>"$cache/.lock" && flock 9; } # several test runs on one machine
for part in "${parts[@]}"; do
  case $part in
    base | python | keycloak | dex) "install_$part" ;;
    *) missing "part $part" "there are base, python, keycloak and dex" ;;
  esac
done
