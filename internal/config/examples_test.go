package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestExamples loads every example, with the secrets and certificates that its README says to make.
func TestExamples(t *testing.T) {
	t.Parallel()
	certificate, key := newCertificate(t)
	extra := map[string]string{
		"secrets/okta": "x", "secrets/partner.pem": key, "secrets/database_url": "postgres://gatehouse@db.internal.example/gatehouse",
		"secrets/master_key": testKey, "secrets/github_token": "x", "secrets/tickets_token": "x", "tls/tools.crt": certificate, "tls/tools.key": key,
	}
	getenv := func(name string) (string, bool) {
		if name == "GATEHOUSE_COPY" {
			return "10.0.0.12:7443", true
		}
		return testKey, name == "GATEHOUSE_MASTER_KEY" || name == "LEDGER_API_KEY"
	}
	for _, file := range exampleFiles(t) {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(filepath.Dir(file))); err != nil {
			t.Fatal(err)
		}
		for name, text := range extra {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		c, err := Parse(data, Options{File: file, Dir: dir, Getenv: getenv})
		if err != nil {
			t.Errorf("%s:\n%v", file, err)
			continue
		}
		if len(c.Warnings) > 0 {
			t.Errorf("%s:\n%s", file, Format(c.Warnings))
		}
	}
}

// TestWalkthroughForms: the example in Gatehouse's words and in AgentCore's is the same.
func TestWalkthroughForms(t *testing.T) {
	t.Parallel()
	dir := "../../examples/walkthrough"
	load := func(name string) *Config {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		c, err := Parse(data, Options{File: name, Dir: dir, Getenv: func(string) (string, bool) { return testKey, true }})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	own, theirs := load("gatehouse.yaml"), load("gatehouse-agentcore.yaml")
	same(t, "authorizers", theirs.Authorizers, own.Authorizers)
	same(t, "own issuer", own.IsOwn(own.Authorizers[0].DiscoveryURL), true)

	// The README shows the very file that is beside it, and that file names the client of the configuration.
	entry, err := os.ReadFile(filepath.Join(dir, "mcp.json"))
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), string(entry)) {
		t.Error("README.md does not show mcp.json as it is")
	}
	var file struct {
		MCPServers map[string]struct{ Args []string }
	}
	if err := json.Unmarshal(entry, &file); err != nil {
		t.Fatal(err)
	}
	args := slices.Collect(maps.Values(file.MCPServers))[0].Args
	var info struct {
		ClientID     string   `json:"client_id"`
		RedirectURIs []string `json:"redirect_uris"`
	}
	if err := json.Unmarshal([]byte(args[len(args)-1]), &info); err != nil {
		t.Fatal(err)
	}
	same(t, "client", info.ClientID, string(own.Clients[0].ClientID))
	same(t, "redirect URIs", info.RedirectURIs, own.Clients[0].RedirectURIs)
	if !slices.Contains(args, own.Resource("/mcp")) {
		t.Errorf("mcp.json does not point at %s", own.Resource("/mcp"))
	}
}

func newCertificate(t *testing.T) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return block("CERTIFICATE", der), block("PRIVATE KEY", encoded)
}
