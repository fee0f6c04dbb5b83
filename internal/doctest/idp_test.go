package doctest

import (
	"go/ast"
	"regexp"
	"strings"
	"testing"

	"gatehouse/internal/oauthclient"
	"gatehouse/internal/vendor"
)

var (
	failureRow = regexp.MustCompile(`(?m)^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$`)
	saidWord   = regexp.MustCompile("`([a-z][a-z0-9]*(?:_[a-z0-9]+)+)`")
	saidText   = regexp.MustCompile(`“([^”]+)”`)
)

// TestEveryProviderHasAPage: each preset has one, with both ways, the redirect URI, the lifetimes, and a table of
// failures whose words are those of the program.
func TestEveryProviderHasAPage(t *testing.T) {
	t.Parallel()
	reasons, texts := read(t, "docs/reasons.md"), &strings.Builder{}
	walkSource(t, func(_, _ string, f *ast.File) {
		ast.Inspect(f, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok {
				texts.WriteString(text(lit) + "\n")
			}
			return true
		})
	})
	index := read(t, "docs/idp/README.md")
	for _, name := range oauthclient.PresetNames() {
		page := read(t, "docs/idp/"+name+".md")
		if !strings.Contains(index, "["+vendor.Name(name).Title()+"]("+name+".md)") {
			t.Errorf("docs/idp/README.md does not list %s", name)
		}
		for _, want := range []string{
			"# " + vendor.Name(name).Title() + "\n", "## Enterprise sign-in\n", "## Direct\n", "## When it does not work\n", "preset: " + name + "\n",
			"https://tools.acme.example/oauth/callback/" + name, "90 days", "roups",
		} {
			if !strings.Contains(page, want) && !(want == "90 days" && strings.Contains(page, "2160h") || strings.Contains(page, "days=90")) {
				t.Errorf("docs/idp/%s.md lacks %q", name, want)
			}
		}
		_, table, _ := strings.Cut(page, "## When it does not work\n")
		rows := failureRow.FindAllStringSubmatch(table, -1)
		if len(rows) < 7 {
			t.Errorf("docs/idp/%s.md names only %d mistakes", name, len(rows))
		}
		for _, row := range rows[2:] { // after the head
			for _, m := range saidWord.FindAllStringSubmatch(row[2], -1) {
				if !strings.Contains(reasons, "\n| `"+m[1]+"` |") && !strings.Contains(m[1], "allowed_") {
					t.Errorf("docs/idp/%s.md: %s is no reason", name, m[1])
				}
			}
			for _, m := range saidText.FindAllStringSubmatch(row[2]+row[3], -1) {
				if !strings.Contains(texts.String(), m[1]) {
					t.Errorf("docs/idp/%s.md: the program never says %q", name, m[1])
				}
			}
		}
	}
}
