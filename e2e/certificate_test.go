//go:build e2e

package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/internal/testkit"
)

// certifying has nginx ask for certificates; what it says about them comes in place of # here.
const certifying = `
    client_max_body_size 5m;
    large_client_header_buffers 4 32k;
    ssl_verify_client optional_no_ca;
    location / {
      proxy_pass http://127.0.0.1:%d;
      proxy_http_version 1.1;
      proxy_buffering off;
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      # here
    }`

const meshConfig = `
public_url: https://localhost:%[1]d
listen: 127.0.0.1:%[2]d
behind_tls_proxy: true
trusted_proxies: [127.0.0.1/32]
client_certificate_header: Client-Cert
state_dir: state
master_key: {file: master.key}
clients:
  - client_id: robot
    grant_types: [client_credentials]
    token_endpoint_auth_method: client_secret_post
    client_secret: {file: robot.secret}
    scopes: [mcp:tools]
    tls_client_certificate_bound_access_tokens: true
targets:
  demo: {demo: true}
endpoints:
  /mcp: {issuers: [gatehouse], access: any_signed_in, services: {gatehouse: [robot]}, targets: [demo]}
`

// Behind a real nginx that asks for client certificates: a service gets tokens that are bound to its certificate and uses
// them; nobody else can, not by writing the header either; and the doctor notices an nginx that lets clients write it.
func TestCertificateBoundThroughNginx(t *testing.T) {
	if _, err := exec.LookPath("nginx"); err != nil {
		t.Fatal("nginx is not installed; run e2e/install.sh")
	}
	ca := testkit.NewCA(t)
	dir, front, back := newHouseDir(t), freePort(t), freePort(t)
	chain, key := ca.PEM(ca.Issue(t, "localhost"))
	writeFile(t, filepath.Join(dir, "tls.crt"), string(chain))
	writeFile(t, filepath.Join(dir, "tls.key"), string(key))
	writeFile(t, filepath.Join(dir, "root.pem"), string(ca.RootPEM()))
	writeFile(t, filepath.Join(dir, "robot.secret"), "s3cret of robot")
	config := filepath.Join(dir, "gatehouse.yaml")
	writeFile(t, config, fmt.Sprintf(meshConfig, front, back))
	h := startHouse(t, dir, fmt.Sprintf("http://127.0.0.1:%d", back), "serve", "-c", config)
	nginx := fmt.Sprintf(certifying, back)
	stop := startNginx(t, dir, front, strings.Replace(nginx, "# here", "proxy_set_header Client-Cert $ssl_client_escaped_cert;", 1))

	public := fmt.Sprintf("https://localhost:%d", front)
	client := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }
	robot, thief := ca.IssueWith(client), ca.IssueWith(client)
	send := func(cert *tls.Certificate, req *http.Request) (int, string) {
		t.Helper()
		config := &tls.Config{RootCAs: ca.Pool()}
		if cert != nil {
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
		}
		transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
		defer transport.CloseIdleConnections()
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {"robot"}, "client_secret": {"s3cret of robot"}, "resource": {public + "/mcp"}}
	tokenRequest := func() *http.Request {
		req, _ := http.NewRequest(http.MethodPost, public+"/token", strings.NewReader(form.Encode()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return req
	}
	if status, body := send(nil, tokenRequest()); status != http.StatusBadRequest || !strings.Contains(body, "certificate_missing") {
		t.Errorf("a token without a certificate: %d %s", status, body)
	}
	status, body := send(&robot, tokenRequest())
	var tokens struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(body), &tokens); err != nil || status != http.StatusOK {
		t.Fatalf("token: %d %s", status, body)
	}
	call := func(forged string) *http.Request {
		req, _ := http.NewRequest(http.MethodPost, public+"/mcp", strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"robot","version":"1"}}}`))
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json, text/event-stream")
		req.Header.Set("Authorization", "Bearer "+tokens.Token)
		if forged != "" {
			req.Header.Set("Client-Cert", forged)
		}
		return req
	}
	forged := ":" + base64.StdEncoding.EncodeToString(robot.Certificate[0]) + ":"
	for name, c := range map[string]struct {
		cert   *tls.Certificate
		forged string
		want   string
	}{
		"the service":              {&robot, "", "protocolVersion"},
		"nobody":                   {nil, "", "certificate_missing"},
		"a thief":                  {&thief, "", "wrong_certificate"},
		"nobody, with the header":  {nil, forged, "certificate_missing"},
		"a thief, with the header": {&thief, forged, "wrong_certificate"},
	} {
		if status, body := send(c.cert, call(c.forged)); !strings.Contains(body, c.want) {
			t.Errorf("%s: %d %s, want %s", name, status, body, c.want)
		}
	}

	doctor := func() string {
		cmd := exec.Command(kit.gatehouse, "doctor", "-c", config)
		cmd.Dir, cmd.Env = dir, append(h.environment(), "SSL_CERT_FILE="+filepath.Join(dir, "root.pem"))
		out, _ := cmd.CombinedOutput() // its exit code says that something is wrong, and so does what it prints
		return string(out)
	}
	if said := doctor(); !strings.Contains(said, "what a client writes in Client-Cert does not arrive") || strings.Contains(said, "FAIL") {
		t.Errorf("the doctor says:\n%s", said)
	}
	stop()
	startNginx(t, dir, front, nginx)
	if said := doctor(); !strings.Contains(said, "certificate_forgeable") {
		t.Errorf("the doctor does not notice that clients can write the header:\n%s", said)
	}
}
