//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// idp is a real identity provider on loopback. It knows Gatehouse in two ways: direct, where the assistant is its client
// and Gatehouse checks its access tokens, and enterprise sign-in, where Gatehouse itself is its client.
type idp struct {
	name      string // of its authorizer, and of its callback path at Gatehouse
	label     string // on the sign-in page
	preset    string // of Gatehouse, where it has one …
	settings  string // … or further lines of the provider in sign_in
	origin    string
	discovery string // URL of its metadata
	scopes    string // what clients have to ask it for, as a YAML list
	audience  string // aud of its access tokens; empty: they have none

	assistant string // id of a public client that redirects to the callback port; empty where clients register themselves
	webClient string // id of a confidential web application that redirects to <gatehouse>/oauth/callback/<name>
	webSecret string // its secret

	pages func(person string) []formPage // from the IdP's first page to the client's callback
}

// place is where the parts of one set-up are, for IdP and Gatehouse must know each other's addresses before they start.
type place struct {
	idp, house         string // origins
	idpPort, housePort int
	callback           int // the assistant's port
}

func newPlace(t *testing.T) place {
	t.Helper()
	p := place{idpPort: freePort(t), housePort: freePort(t), callback: freePort(t)}
	p.idp, p.house = fmt.Sprintf("http://localhost:%d", p.idpPort), fmt.Sprintf("http://localhost:%d", p.housePort)
	return p
}

func (p place) callbackPort() string { return fmt.Sprint(p.callback) }

// install makes sure that a part of install.sh is there and returns where. GATEHOUSE_E2E_SKIP leaves out its tests.
func install(t *testing.T, part string) string {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv("GATEHOUSE_E2E_SKIP"), ","), part) {
		t.Skipf("GATEHOUSE_E2E_SKIP names %s", part)
	}
	var said strings.Builder
	cmd := exec.Command("./install.sh", part)
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("install %s: %v\n%s", part, err, said.String())
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

// service is a process that runs beside Gatehouse, with all that it starts itself.
type service struct {
	t    *testing.T
	log  *output
	cmd  *exec.Cmd
	done chan error
}

// startService runs cmd until the test ends, and waits until readyURL answers.
func startService(t *testing.T, cmd *exec.Cmd, readyURL string, within time.Duration) *service {
	t.Helper()
	s := launch(t, cmd)
	s.await(readyURL, within, func() bool {
		resp, err := http.Get(readyURL)
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return s
}

// launch runs cmd until the test ends.
func launch(t *testing.T, cmd *exec.Cmd) *service {
	t.Helper()
	s := &service{t: t, log: newOutput(), cmd: cmd, done: make(chan error, 1)}
	cmd.Stdout, cmd.Stderr = s.log, s.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", cmd.Path, err)
	}
	go func() { s.done <- cmd.Wait() }()
	t.Cleanup(func() {
		s.stop()
		if t.Failed() {
			t.Logf("log of %s:\n%s", filepath.Base(cmd.Path), s.log)
		}
	})
	return s
}

// await waits until the service is ready at an address.
func (s *service) await(address string, within time.Duration, ready func() bool) {
	s.t.Helper()
	path := s.cmd.Path
	for deadline := time.Now().Add(within); ; {
		select {
		case err := <-s.done:
			s.cmd = nil
			s.t.Fatalf("%s ended at start: %v\n%s", path, err, s.log)
		case <-time.After(100 * time.Millisecond): // polling another process: there is no event to wait for
		}
		if ready() {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s does not answer at %s after %s\n%s", path, address, within, s.log)
		}
	}
}

func (s *service) stop() {
	if s.cmd == nil {
		return
	}
	group := -s.cmd.Process.Pid
	s.cmd = nil
	_ = syscall.Kill(group, syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(10 * time.Second):
		_ = syscall.Kill(group, syscall.SIGKILL)
		<-s.done
	}
}

// directConfig leaves sign-in to the IdP: its authorizer is the only issuer.
const directConfig = `
public_url: %[1]s
listen: 127.0.0.1:%[2]d
state_dir: state
master_key: {file: master.key}
targets:
  demo: {demo: true}
authorizers:
  - name: %[3]s
    discovery_url: %[4]s
%[5]s
%[6]s
endpoints:
  /mcp:
    issuers: [%[3]s]
    access: %[7]s
    scopes: {%[11]s: %[8]s}
%[9]s
    targets: [demo]
%[10]s
`

// direct says what differs from the simplest set-up in direct mode.
type direct struct {
	authorizer string // further lines of the IdP's authorizer, and further authorizers; indented as they stand in the file
	access     string // of /mcp; empty: any_signed_in
	services   string // that /mcp admits
	advertised bool   // the scopes are advertised, not asked for by the first challenge
	endpoints  string // further endpoints
}

// startDirect runs Gatehouse with the IdP as the authorization server of /mcp.
func startDirect(t *testing.T, at place, p *idp, d direct) *house {
	t.Helper()
	dir := newHouseDir(t)
	config := filepath.Join(dir, "gatehouse.yaml")
	access, audience, services, scopes := d.access, "", "", "default"
	if d.advertised {
		scopes = "advertised"
	}
	if access == "" {
		access = "any_signed_in"
	}
	if d.services != "" {
		services = fmt.Sprintf("    services: {%s: [%s]}", p.name, d.services)
	}
	if p.audience != "" {
		audience = fmt.Sprintf("    allowed_audience: [%q]", p.audience)
	}
	writeFile(t, config, fmt.Sprintf(directConfig, at.house, at.housePort, p.name, p.discovery, audience, d.authorizer, access, p.scopes, services, d.endpoints, scopes))
	return startHouse(t, dir, at.house, "serve", "-c", config)
}

// remoteDirect starts mcp-remote and lets a person sign in at the IdP's own pages.
func remoteDirect(t *testing.T, at place, p *idp, home, person string, args ...string) *remote {
	t.Helper()
	r, w, address := p.beginDirect(t, at, home, args...)
	browse(t, address, p.pages(person)).mustBeCallback(t, at)
	r.finishInitialize(w)
	return r
}

// chromiumDirect is remoteDirect with a real browser, which leaves pictures of the pages under a name.
func chromiumDirect(t *testing.T, name string, at place, p *idp, home, person string, args ...string) *remote {
	t.Helper()
	r, w, address := p.beginDirect(t, at, home, args...)
	walk(t, name, address, at.house, p.pages(person)).mustBeCallback(t, at)
	r.finishInitialize(w)
	return r
}

// beginDirect starts mcp-remote and returns the address at the IdP that it sends the person to.
func (p *idp) beginDirect(t *testing.T, at place, home string, args ...string) (*remote, <-chan wireMessage, string) {
	t.Helper()
	r := startRemote(t, home, p.remoteArgs(at, "/mcp", args...)...)
	w := r.beginInitialize()
	address := r.authorizeURL()
	if !strings.HasPrefix(address, p.origin) {
		t.Fatalf("mcp-remote sends the person to %s, not to %s", address, p.origin)
	}
	return r, w, address
}

// remoteArgs is the command line of an assistant's entry for this IdP.
func (p *idp) remoteArgs(at place, path string, more ...string) []string {
	args := []string{at.house + path, fmt.Sprint(at.callback)}
	if p.assistant != "" {
		args = append(args, "--static-oauth-client-info",
			fmt.Sprintf(`{"client_id":%q,"redirect_uris":["http://localhost:%d/oauth/callback"]}`, p.assistant, at.callback))
	}
	return append(args, more...)
}
