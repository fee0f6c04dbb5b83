//go:build linux

package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// family is a command with a child in its process group and a grandchild that went away as a daemon does. Each writes
// down who it is, and none ends by itself. It answers nothing, which a target may well do.
const family = `
echo $$ > "$DIR/command"
sh -c 'trap "" TERM HUP; echo $$ > "$DIR/child"; while :; do sleep 1000; done' &
setsid sh -c '(trap "" TERM HUP; echo $$ > /dev/null; sh -c "echo \$PPID > \"$DIR/grandchild\""; while :; do sleep 1000; done) &' &
trap "" TERM HUP
while :; do sleep 1000; done
`

// Gatehouse may be killed at any moment, by a person or by the kernel. Nothing that it started outlives it, and no
// directory stays.
func TestKilledGatehouseLeavesNothing(t *testing.T) {
	t.Parallel()
	dir, tmp := t.TempDir(), t.TempDir()
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`
listen: 127.0.0.1:%d
master_key: {env: GATEHOUSE_MASTER_KEY}
targets:
  family: {command: [/bin/sh, -c, %q], env: {DIR: %q}, sandbox: optional}
endpoints: {/mcp: {issuers: [gatehouse], access: any_signed_in, targets: [family]}}
`, port, family, dir)
	file := filepath.Join(t.TempDir(), "gatehouse.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "serve", "-c", file)
	cmd.Env = append(os.Environ(), asGatehouse+"=1", "TMPDIR="+tmp, "GATEHOUSE_MASTER_KEY=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pids := map[string]int{}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	for _, who := range []string{"command", "child", "grandchild"} {
		soon(t, who+" runs", func() bool {
			text, _ := os.ReadFile(filepath.Join(dir, who))
			pids[who], _ = strconv.Atoi(strings.TrimSpace(string(text)))
			return pids[who] > 0
		})
	}
	soon(t, "it serves", func() bool {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/livez", port))
		if err == nil {
			resp.Body.Close()
		}
		return err == nil
	})
	if _, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pids["grandchild"])); err != nil {
		t.Fatalf("the grandchild does not run: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	for who, pid := range pids {
		soon(t, who+" is gone", func() bool {
			_, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)) // a zombie has none
			return err != nil
		})
	}
	soon(t, "directories are gone", func() bool {
		left, err := os.ReadDir(tmp)
		return err == nil && len(left) == 0
	})
	if t.Failed() {
		t.Log(log.String())
	}
}

// soon waits for what another process does: there is no event to wait for.
func soon(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("after 20 s still not: %s", what)
			return
		}
	}
}
