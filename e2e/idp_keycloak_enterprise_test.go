//go:build e2e

package e2e

import (
	"testing"
)

func keycloakEnterprise(t *testing.T, k *keycloak) {
	at := k.place(t)
	enterpriseSignIn(t, at, k.application(t, at), "eng")
}
