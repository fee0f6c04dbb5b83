package app

import (
	"log/slog"
	"testing"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/telemetry"
	"gatehouse/internal/web"
)

// oneCall is what is counted about one call of a tool.
func oneCall() (web.Ended, audit.Event) {
	ended := web.Ended{Method: "POST", Route: "/mcp", Status: 200, Took: 3 * time.Millisecond, Notes: []slog.Attr{
		slog.String("endpoint", "/mcp"), slog.String("subject", "ada"), slog.String("client", "cli"), slog.String("mcp_method", "tools/call"),
		slog.String("target", "github"), slog.String("name", "create_issue"), slog.String("outcome", "ok"),
	}}
	return ended, audit.Event{Kind: audit.KindCall, Endpoint: "/mcp", Target: "github", Decision: audit.Allow, Outcome: "ok", Duration: 2 * time.Millisecond}
}

// TestCountingAllocatesNothing: what is counted for each call is on the path of each call.
func TestCountingAllocatesNothing(t *testing.T) {
	m := telemetry.NewMetrics("test")
	ended, event := oneCall()
	if n := testing.AllocsPerRun(100, func() { countRequest(m, ended); countEvent(m, event) }); n != 0 {
		t.Errorf("counting one call allocates %v times", n)
	}
}

// BenchmarkCounting is all that metrics add to a call.
func BenchmarkCounting(b *testing.B) {
	m := telemetry.NewMetrics("test")
	ended, event := oneCall()
	b.ReportAllocs()
	for b.Loop() {
		countRequest(m, ended)
		countEvent(m, event)
	}
}
