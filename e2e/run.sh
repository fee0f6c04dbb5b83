#!/usr/bin/env bash
# Runs the end-to-end tests; arguments go to `go test`, such as -run TestColdSignIn. Screenshots land in artifacts/.
set -euo pipefail
cd "$(dirname "$0")/.."
[[ -d e2e/node/node_modules/mcp-remote && -d e2e/conformance/node_modules ]] || e2e/install.sh
exec go test -tags e2e -count=1 -timeout 25m "$@" ./e2e/...
