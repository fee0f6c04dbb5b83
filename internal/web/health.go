package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// State is how a part of the program is doing.
type State uint8

// Degraded means: some of the work fails, the rest goes on; only Down makes the program not ready.
const (
	OK State = iota
	Degraded
	Down
)

// String returns the word that the health endpoints show.
func (s State) String() string {
	switch s {
	case OK:
		return "ok"
	case Degraded:
		return "degraded"
	}
	return "down"
}

// Dependency is one part whose state counts. Check answers from memory, or at least within its context's deadline.
type Dependency struct {
	Name  string
	Check func(ctx context.Context) (State, string) // the string says more, for an administrator
}

// Health answers the health endpoints. Mount them outside HostCheck: probes come by address. Once the server is asked
// to stop, it is not ready.
type Health struct{ dependencies []Dependency }

// NewHealth returns the health of the parts together.
func NewHealth(dependencies ...Dependency) *Health { return &Health{dependencies} }

const healthTimeout = 2 * time.Second

type finding struct {
	name, detail string
	state        State
}

func (h *Health) check(ctx context.Context) (worst State, all []finding) {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	select {
	case <-Stopping(ctx):
		worst, all = Down, []finding{{"server", "stopping", Down}}
	default:
	}
	for _, d := range h.dependencies {
		state, detail := d.Check(ctx)
		worst = max(worst, state)
		all = append(all, finding{d.Name, detail, state})
	}
	return worst, all
}

func statusOf(s State) int {
	if s == Down {
		return http.StatusServiceUnavailable
	}
	return http.StatusOK
}

// Livez answers 200 as long as the process serves at all.
func (h *Health) Livez(w http.ResponseWriter, r *http.Request) {
	hush(r.Context())
	plain(w, http.StatusOK)
	_, _ = fmt.Fprintln(w, "ok")
}

// Readyz answers 200 when requests can be served, 503 when not. With ?verbose it lists the parts, to callers on this
// machine only: names of targets are nobody else's business.
func (h *Health) Readyz(w http.ResponseWriter, r *http.Request) {
	hush(r.Context())
	worst, all := h.check(r.Context())
	plain(w, statusOf(worst))
	if r.URL.Query().Has("verbose") && fromThisMachine(r) {
		for _, f := range all {
			_, _ = fmt.Fprintf(w, "%s: %s %s\n", f.name, f.state, f.detail)
		}
	}
	_, _ = fmt.Fprintln(w, worst)
}

// Healthz says the same as Readyz in JSON.
func (h *Health) Healthz(w http.ResponseWriter, r *http.Request) {
	hush(r.Context())
	worst, _ := h.check(r.Context())
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(statusOf(worst))
	_ = json.NewEncoder(w).Encode(map[string]string{"status": worst.String()})
}

func plain(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
}

// fromThisMachine reports whether the peer is on the loopback and speaks for itself, not for somebody behind it.
func fromThisMachine(r *http.Request) bool {
	return peerIP(r).IsLoopback() && r.Header.Get("X-Forwarded-For") == "" && r.Header.Get("Forwarded") == ""
}
