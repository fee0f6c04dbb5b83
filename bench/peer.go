package main

import (
	"crypto/x509"
	"embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// peer is another program that can stand in front of an MCP server. Its configuration is a file in the directory peers.
type peer struct {
	name    string
	program string // in the directory of peers, else in PATH
	does    string
	file    string
	command func(program, file, host, port string) []string
	path    string
	copies  int // see call
	env     []string

	goPackage, toolchain string // with its version, and with what Go it is built
	python               string // package and version
	debian               string
}

//go:embed peers
var peerFiles embed.FS

func peers() []peer {
	return []peer{
		{
			name: "haproxy", program: "haproxy", does: "checks each token (signature, issuer, audience, expiry), passes bytes on", file: "haproxy.cfg", path: "/",
			command: func(program, file, _, _ string) []string { return []string{program, "-db", "-f", file} }, debian: "haproxy",
		},
		{
			name: "oauth2-proxy", program: "oauth2-proxy", does: "checks each token, passes bytes on", file: "oauth2-proxy.cfg", path: "/",
			command:   func(program, file, _, _ string) []string { return []string{program, "--config", file} },
			goPackage: "github.com/oauth2-proxy/oauth2-proxy/v7@v7.15.6",
		},
		{ // ToolHive's simpler proxy, thv, takes no identity provider on loopback
			name: "vmcp", program: "vmcp", does: "ToolHive's virtual server: checks each token, ends MCP, owns the list of tools, sends each text twice", file: "vmcp.yaml", path: "/mcp", copies: 2,
			command: func(program, file, host, port string) []string {
				return []string{program, "serve", "-c", file, "--host", host, "--port", port}
			}, env: []string{"TOOLHIVE_SKIP_UPDATE_CHECK=true", "TOOLHIVE_USAGE_METRICS_ENABLED=false"},
			goPackage: "github.com/stacklok/toolhive/cmd/vmcp@v0.47.0", toolchain: "go1.27.3",
		},
		{
			name: "fastmcp", program: "fastmcp/bin/python", does: "Python: checks each token, ends MCP, asks the server as a client", file: "fastmcp-proxy.py", path: "/mcp",
			command: func(program, file, _, _ string) []string { return []string{program, file} },
			env:     []string{"FASTMCP_CHECK_FOR_UPDATES=off"}, python: "fastmcp==4.1.6",
		},
	}
}

// peersDir is where install-peers puts programs.
func peersDir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the user's cache directory: %w", err)
	}
	return filepath.Join(cache, "gatehouse-bench", "peers"), nil
}

// find returns the program's path, or an error that says how to install it.
func (p peer) find() (string, error) {
	dir, err := peersDir()
	if err != nil {
		return "", err
	}
	if file := filepath.Join(dir, p.program); isProgram(file) {
		return file, nil
	}
	if p.debian != "" {
		if file, err := exec.LookPath(p.program); err == nil {
			return file, nil
		}
		return "", fmt.Errorf("%s is not installed: apt-get install %s", p.name, p.debian)
	}
	return "", fmt.Errorf("%s is not installed: go run ./bench install-peers %s", p.name, p.name)
}

func isProgram(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// start runs a peer in front of the server of the session era.
func (p peer) start(h *house) (*subject, error) {
	program, err := p.find()
	if err != nil {
		return nil, err
	}
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if err := h.writeIssuerKey(); err != nil {
		return nil, err
	}
	raw, err := peerFiles.ReadFile("peers/" + p.file)
	if err != nil {
		return nil, err
	}
	text := strings.NewReplacer("LISTEN", addr, "HOST", host, "PORT", port, "TARGET", h.session.addr(), "ISSUER", h.issuer.url, "KEYS", h.issuer.url+"/keys",
		"AUDIENCE", audience, "DIR", h.dir).Replace(string(raw))
	file := filepath.Join(h.dir, p.file)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	process, err := start(append([]string{"HOME=" + h.dir, "XDG_CONFIG_HOME=" + h.dir, "XDG_STATE_HOME=" + h.dir, "XDG_DATA_HOME=" + h.dir, "XDG_CACHE_HOME=" + h.dir}, p.env...), p.command(program, file, host, port)...)
	if err != nil {
		return nil, err
	}
	s := &subject{name: p.name, addr: addr, process: process, paths: [2]string{p.path, p.path}}
	if err := s.ready(&person{token: h.issuer.token("first", "")}); err != nil {
		process.stop()
		return nil, fmt.Errorf("%w\n%s", err, tail(process.log.String()))
	}
	return s, nil
}

// writeIssuerKey writes the key of the identity provider for those that want a file.
func (h *house) writeIssuerKey() error {
	der, err := x509.MarshalPKIXPublicKey(&h.issuer.key.PublicKey)
	if err != nil {
		return fmt.Errorf("write the identity provider's key: %w", err)
	}
	return os.WriteFile(filepath.Join(h.dir, "issuer.pem"), toPEM("PUBLIC KEY", der), 0o600)
}

// refuses tries tokens that must not get in, and returns which of them did.
func (s *subject) refuses(h *house) (accepted []string, err error) {
	for name, token := range h.issuer.badTokens() {
		c, err := s.dial()
		if err != nil {
			return nil, err
		}
		p := person{token: token}
		r, err := c.do(append(p.head(nil, s, call{}, len(hello)), hello...), nil)
		c.close()
		if err != nil {
			return nil, fmt.Errorf("%s: a token with %s: %w", s.name, name, err)
		}
		if r.status < 300 {
			accepted = append(accepted, name)
		}
	}
	return accepted, nil
}

// install puts a program into the directory of peers.
func (p peer) install() error {
	dir, err := peersDir()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the directory of peers: %w", err)
	}
	run := func(env []string, name string, args ...string) error {
		say("%s %s", name, strings.Join(args, " "))
		cmd := exec.Command(name, args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("install %s: %w", p.name, err)
		}
		return nil
	}
	switch {
	case p.goPackage != "":
		env := []string{"GOBIN=" + dir, "CGO_ENABLED=0", "GOFLAGS="}
		if p.toolchain != "" {
			env = append(env, "GOTOOLCHAIN="+p.toolchain)
		}
		return run(env, "go", "install", "-trimpath", "-ldflags=-s -w", p.goPackage)
	case p.python != "":
		name, _, _ := strings.Cut(p.program, "/")
		if err := run(nil, "python3", "-m", "venv", name); err != nil {
			return err
		}
		return run(nil, filepath.Join(dir, p.program), "-m", "pip", "install", "--quiet", p.python)
	}
	if _, err := exec.LookPath(p.program); err == nil {
		return nil
	}
	return errors.New(p.name + " comes from the system: apt-get install " + p.debian)
}
