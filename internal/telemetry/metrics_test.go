package telemetry

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

func served(t *testing.T, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// TestSeriesAreBounded: a label with endless values cannot fill the memory, and what is no text does not break a scrape.
func TestSeriesAreBounded(t *testing.T) {
	t.Parallel()
	m := NewMetrics("test")
	m.HTTP("\xff", 200, "")
	m.HTTP("\xff", 200, "")
	if m.httpRequests.count != 1 {
		t.Error("a series that is there was made again")
	}
	var all sync.WaitGroup
	for n := range 4 {
		all.Go(func() {
			for i := range maxSeries {
				m.Request(fmt.Sprint("/", n, i), "tools/call", "session", "ok")
			}
		})
	}
	all.Wait()
	m.Request("/late", "tools/call", "session", "ok")
	text := served(t, m)
	if n := strings.Count(text, "\ngatehouse_mcp_requests_total{"); n != maxSeries+1 {
		t.Errorf("%d series", n)
	}
	for _, want := range []string{
		fmt.Sprintf("gatehouse_mcp_requests_total{endpoint=\"other\",era=\"other\",method=\"other\",outcome=\"other\"} %d\n", 3*maxSeries+1),
		"gatehouse_http_requests_total{code=\"200\",route=\"?\"} 2\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
}

// TestNothingIsCountedWithoutMetrics: whoever tells of what happens need not know whether anybody wants to.
func TestNothingIsCountedWithoutMetrics(t *testing.T) {
	t.Parallel()
	var m *Metrics
	m.Target("x", "down")
	m.Trouble("x", "down")
	m.Opened("x")
	m.Connected()
	m.Configured(false, nil, time.Time{})
	if m.Keys("x") != nil {
		t.Error("keys are counted")
	}
}

// TestDurations: they are in seconds, and calls without one are counted without one.
func TestDurations(t *testing.T) {
	t.Parallel()
	m := NewMetrics("test")
	m.Call("/mcp", "web", "ok", 20*time.Millisecond)
	m.Call("/mcp", "web", "ok", 0)
	m.Answered("/mcp", "web", 30*time.Millisecond)
	text := served(t, m)
	for _, want := range []string{
		`gatehouse_mcp_calls_total{endpoint="/mcp",outcome="ok",target="web"} 2`,
		`gatehouse_target_call_duration_seconds_count{endpoint="/mcp",target="web"} 1`,
		`gatehouse_target_call_duration_seconds_bucket{endpoint="/mcp",target="web",le="0.01"} 0`,
		`gatehouse_target_call_duration_seconds_bucket{endpoint="/mcp",target="web",le="0.025"} 1`,
		`gatehouse_mcp_call_duration_seconds_sum{endpoint="/mcp",target="web"} 0.03`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}
