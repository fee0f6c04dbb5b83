#!/usr/bin/env bash
# Installs what the end-to-end and PostgreSQL tests need, unless it is there: Debian's postgresql and chromium (as root),
# and the Node packages pinned in node/package-lock.json and conformance/package-lock.json. It says what is missing when
# it cannot.
set -euo pipefail
cd "$(dirname "$0")"

need=()
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || need+=(postgresql)
command -v chromium >/dev/null || need+=(chromium)

if ((${#need[@]})); then
  if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
    echo "missing: ${need[*]}; install them with your package manager (on Debian: apt-get install ${need[*]})" >&2
    exit 1
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${need[@]}" >/dev/null
fi

if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
  echo "missing: Node.js 20 or newer with npm" >&2
  exit 1
fi
(cd node && npm ci --no-progress)
(cd conformance && npm ci --no-progress) # brings its own Node 22 on Linux on x64; elsewhere the installed one must be 22
