package portal

import (
	"net/http"
	"strings"
	"time"

	"gatehouse/internal/page"
)

// TargetsPath is where an administrator sees how the targets are.
const TargetsPath = "/admin/targets"

// Target is how one target is.
type Target struct {
	Name     string
	Kind     string // such as command, or the host of its URL
	State    string // ok, connecting, down
	Since    time.Time
	Error    string // empty when it is ok
	Revision string // of MCP that it speaks; empty while unknown

	Tools, Prompts, Resources, Processes int
}

// targetsPage is the data of the "targets" page.
type targetsPage struct {
	Targets []targetRow
	Down    int
	At      string
}

type targetRow struct {
	Target
	Ago     string
	Through string // the endpoints that offer it
}

// targets shows how the targets are. For everybody but administrators there is no such page.
func (p *Portal) targets(w http.ResponseWriter, r *http.Request) error {
	if signedIn, err := p.administrator(w, r); signedIn == nil {
		return err
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		return &page.Failure{Status: http.StatusMethodNotAllowed, Title: "This page takes no form", Text: "Open it to look at it."}
	}
	now := p.Now()
	t := targetsPage{At: now.UTC().Format("2006-01-02 15:04:05 UTC")}
	for _, one := range p.Targets() {
		var through []string
		for _, e := range p.Endpoints {
			for _, name := range e.Targets {
				if name == one.Name {
					through = append(through, e.Path)
				}
			}
		}
		if one.State == "down" {
			t.Down++
		}
		t.Targets = append(t.Targets, targetRow{one, now.Sub(one.Since).Round(time.Second).String(), strings.Join(through, ", ")})
	}
	return page.Render(w, r, http.StatusOK, "targets", t)
}
