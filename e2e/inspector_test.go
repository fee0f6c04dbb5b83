//go:build e2e

package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// inspect runs the command line of the MCP Inspector, which makes one call a run, in both eras.
func inspect(t *testing.T, url, token string) {
	for _, how := range [][]string{{"--transport", "http", "--protocol-era", "legacy"}, {"--transport", "http", "--protocol-era", "modern"}, {"--transport", "sse"}} {
		for _, tc := range []struct {
			args []string
			want string
		}{
			{[]string{"--method", "tools/list"}, "py2stdio___add"},
			{[]string{"--method", "tools/call", "--tool-name", "py1http___add", "--tool-arg", "a=20", "b=22"}, "42"},
			{[]string{"--method", "resources/read", "--uri", "py://note"}, "a note"},
			{[]string{"--method", "prompts/get", "--prompt-name", "py2http___greet", "--prompt-args", "name=Ada"}, "Say hello to Ada."},
		} {
			out, err := inspector(t, url, token, append(slices.Clone(how), tc.args...)...)
			if err != nil || !strings.Contains(string(out), tc.want) {
				t.Errorf("%v %v: %v: no %q in %.800s", how, tc.args, err, tc.want, out)
			}
		}
	}
}

// inspector runs the Inspector's command line.
func inspector(t *testing.T, url, token string, args ...string) ([]byte, error) {
	t.Helper()
	s := conformanceSuite(t) // for its Node: the Inspector needs a newer one than the other packages
	launcher := filepath.Join(kit.modules, "@modelcontextprotocol", "inspector", "clients", "launcher", "build", "index.js")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	args = append([]string{launcher, "--cli", "--server-url", url, "--header", "Authorization: Bearer " + token, "--format", "json"}, args...)
	cmd := exec.CommandContext(ctx, s.node, args...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	return cmd.CombinedOutput()
}
