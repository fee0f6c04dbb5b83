// Package e2e proves the main job with real parts: the gatehouse binary, the real mcp-remote, the real
// server-everything, the official SDK clients and conformance suite, Chromium, and identity providers that sign people in at pages of their
// own. Its tests need Node and the packages pinned in node/package-lock.json, so they run under the build tag e2e only:
// `make e2e`. Java and Maven serve Keycloak, Go builds Dex: see install.sh.
package e2e
