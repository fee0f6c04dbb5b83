#!/usr/bin/env bash
# Runs the end-to-end tests; arguments go to `go test`, such as -run TestColdSignIn. Screenshots land in artifacts/.
set -euo pipefail
cd "$(dirname "$0")/.."
e2e/install.sh base >/dev/null
exec go test -tags e2e -count=1 -timeout 25m "$@" ./e2e/...
