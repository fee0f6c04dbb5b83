package app

import (
	"os"
	"slices"
	"strings"
	"testing"

	"gatehouse/internal/config"
	"gatehouse/internal/sandbox"
	"gatehouse/internal/secret"
)

func TestOwnFiles(t *testing.T) {
	t.Parallel()
	c := &config.Config{StateDir: "/var/lib/gatehouse", Database: secret.New("/data/g.db"), Read: []string{"/etc/gatehouse/key", "/etc/gatehouse.yaml", "/etc/gatehouse/key"}}
	want := []string{"/data/g.db", "/data/g.db-journal", "/data/g.db-shm", "/data/g.db-wal", "/etc/gatehouse.yaml", "/etc/gatehouse/key", "/var/lib/gatehouse"}
	if got := ownFiles(c); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	c.Database = secret.New("postgres://gatehouse@db/gatehouse")
	if got := ownFiles(c); len(got) != 3 {
		t.Errorf("with PostgreSQL: %q", got)
	}
}

func TestDoubts(t *testing.T) {
	t.Parallel()
	root, fenced := os.Geteuid() == 0, sandbox.Landlock() > 0
	for name, tc := range map[string]struct {
		target   config.Target
		database string
		want     string // a part of the one doubt; empty for none
	}{
		"no command":           {config.Target{URL: "https://x.example/mcp"}, "postgres:///g", ""},
		"as another":           {config.Target{Command: []string{"x"}, RunAs: "mcp", Sandbox: "required"}, "g.db", map[bool]string{false: "only root"}[root]},
		"as Gatehouse":         {config.Target{Command: []string{"x"}, Sandbox: "required"}, "g.db", map[bool]string{true: "run by root"}[root]},
		"beside a socket":      {config.Target{Command: []string{"x"}, Sandbox: "required"}, "postgres:///g?host=/var/run/postgresql", "Unix socket"},
		"beside another":       {config.Target{Command: []string{"x"}, Sandbox: "required", RunAs: "mcp"}, "postgres:///g", map[bool]string{false: "only root"}[root]},
		"beside a remote host": {config.Target{Command: []string{"x"}, Sandbox: "required"}, "postgres://u@db.example/g", map[bool]string{true: "run by root"}[root]},
	} {
		if !fenced && tc.target.Command != nil && tc.target.RunAs == "" {
			tc.want = "no Landlock"
		}
		tc.target.Name = "t"
		got := Doubts(&config.Config{Targets: []config.Target{tc.target}, Database: secret.New(tc.database)})
		if (len(got) == 0) != (tc.want == "") || len(got) > 0 && (len(got) != 1 || !strings.Contains(got[0], tc.want) || !strings.HasPrefix(got[0], "targets.t: ")) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}
