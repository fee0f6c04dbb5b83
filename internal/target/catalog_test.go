package target

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/mcp"
	"gatehouse/internal/testkit"
)

func TestCatalogReadsAllPages(t *testing.T) {
	t.Parallel()
	s := testkit.NewMCPServer(t)
	s.Handle(mcp.MethodToolsList, func(c *testkit.MCPCall) {
		switch cursor, _ := mcp.LookupString(c.Params, "cursor"); cursor {
		case "":
			c.Result(`{"tools":[{"name":"a","x": 1.0}],"nextCursor":"second \"page\""}`)
		case `second "page"`:
			c.Result(`{"tools":[{"name":"b"},{"name":"a","again":true}]}`)
		default:
			c.Error(mcp.CodeInvalidParams, "bad cursor")
		}
	})
	s.Handle(mcp.MethodTemplatesList, func(c *testkit.MCPCall) { c.Error(mcp.CodeMethodNotFound, "no templates here") })
	c, err := started(t, rawOptions(s)).Catalog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Tools) != 2 || string(c.Tools[0].Raw) != `{"name":"a","x": 1.0}` || c.Tools[1].Name != "b" {
		t.Errorf("%+v", c.Tools)
	}
}

func TestCatalogIsBounded(t *testing.T) {
	t.Parallel()
	for name, page := range map[string]string{
		"pages without end": `{"tools":[{"name":"%d"}],"nextCursor":"%[1]d"}`,
		"an item no tool":   `{"tools":[{"title":"%d"}]}`,
		"no list":           `{"tool":[%d]}`,
	} {
		s := testkit.NewMCPServer(t)
		var n atomic.Int64
		s.Handle(mcp.MethodToolsList, func(c *testkit.MCPCall) { c.Result(fmt.Sprintf(page, n.Add(1))) })
		tg := started(t, rawOptions(s))
		if c, err := tg.Catalog(t.Context()); err == nil {
			t.Errorf("%s: %+v", name, c)
		}
		if h := tg.Health(); h.State != Offline || h.LastError == "" {
			t.Errorf("%s: %+v", name, h)
		}
	}
}

// Neither large pages nor many items of one name get around the bounds, and they do not flood the log.
func TestLargeCatalogsAreRefused(t *testing.T) {
	t.Parallel()
	for name, page := range map[string]string{
		"bytes": `{"tools":[{"name":"%d"}],"nextCursor":"x","padding":"` + strings.Repeat("x", 4<<20) + `"}`,
		"20000": `{"tools":[{"name":"one"}` + strings.Repeat(`,{"name":"one"}`, 5000) + `],"nextCursor":"%d"}`,
	} {
		s, log := testkit.NewMCPServer(t), newLogBuffer()
		var n, most atomic.Int64 // pages of this attempt, and of the one that took most: a slow machine sees several
		s.Handle(mcp.MethodToolsList, func(c *testkit.MCPCall) {
			if !strings.Contains(string(c.Params), `"cursor"`) {
				n.Store(0)
			}
			most.Store(max(most.Load(), n.Add(1)))
			c.Result(fmt.Sprintf(page, n.Load()))
		})
		o := rawOptions(s)
		o.Log = logTo(log)
		tg := started(t, o)
		if c, err := tg.Catalog(t.Context()); err == nil {
			t.Errorf("%s: %+v", name, c)
		}
		if h := tg.Health(); !strings.Contains(h.LastError, name) || most.Load() > 10 {
			t.Errorf("%s: after %d pages: %s", name, most.Load(), h.LastError)
		}
		if lines := strings.Count(log.String(), "\n"); lines > 10 {
			t.Errorf("%s: %d lines in the log", name, lines)
		}
	}
}

func TestAStormOfChangesMakesFewRefreshes(t *testing.T) {
	t.Parallel()
	s := testkit.NewMCPServer(t)
	tg := started(t, rawOptions(s))
	changed := make(chan string, 10)
	defer tg.OnChange(func(kind string) { changed <- kind })()
	if _, err := tg.Catalog(t.Context()); err != nil {
		t.Fatal(err)
	}
	if kind := receive(t, changed, "the first list"); kind != "tools" {
		t.Errorf("changed %s", kind)
	}
	s.AwaitStream(t)
	s.Tool("late", `{}`, nil)
	for range 500 {
		s.Push(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
	}
	if kind := receive(t, changed, "the change"); kind != "tools" {
		t.Errorf("changed %s", kind)
	}
	if c, err := tg.Catalog(t.Context()); err != nil || len(c.Tools) != 2 || c.Version != 2 {
		t.Errorf("%+v %v", c, err)
	}
	if n := len(s.RequestsOf(mcp.MethodToolsList)); n > 3 {
		t.Errorf("the list was read %d times", n)
	}
}

func TestADeadTargetIsKnownAtOnce(t *testing.T) {
	t.Parallel()
	tg := started(t, Options{HTTP: &HTTPOptions{URL: "http://127.0.0.1:1/mcp"}, CatalogWait: time.Hour})
	for range 3 {
		_, err := tg.Catalog(t.Context())
		wants(t, err, Down)
	}
	if h := tg.Health(); h.State != Offline || !strings.Contains(h.LastError, "refused") {
		t.Errorf("%+v", h)
	}
}

func TestASilentTargetBlocksOnlyForAWhile(t *testing.T) {
	t.Parallel()
	s := testkit.NewMCPServer(t)
	s.Handle(mcp.MethodInitialize, func(c *testkit.MCPCall) { <-c.R.Context().Done() })
	o := rawOptions(s)
	o.CatalogWait = 50 * time.Millisecond
	tg := started(t, o)
	_, err := tg.Catalog(t.Context())
	wants(t, err, Down)
	if h := tg.Health(); h.State != Connecting {
		t.Errorf("%+v", h)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = tg.Catalog(ctx)
	wants(t, err, Canceled)
}

func TestTheOldCatalogIsServedWhileTheTargetIsDown(t *testing.T) {
	t.Parallel()
	s := testkit.NewMCPServer(t)
	log := newLogBuffer()
	o := rawOptions(s)
	o.CatalogTTL, o.Log = 20*time.Millisecond, logTo(log)
	tg := started(t, o)
	before, err := tg.Catalog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.Handle(mcp.MethodToolsList, func(c *testkit.MCPCall) { c.W.WriteHeader(http.StatusInternalServerError) })
	log.await(t, "target is down")
	if c, err := tg.Catalog(t.Context()); err != nil || len(c.Tools) != 1 || c.Version != before.Version {
		t.Errorf("%+v %v", c, err)
	}
	if tg.Health().State != Offline {
		t.Errorf("%+v", tg.Health())
	}
	s.Handle(mcp.MethodToolsList, func(c *testkit.MCPCall) { c.Result(`{"tools":[{"name":"echo"},{"name":"back"}]}`) })
	changed := make(chan string, 10)
	defer tg.OnChange(func(kind string) { changed <- kind })()
	receive(t, changed, "the target to come back")
	if h := tg.Health(); h.State != OK || h.LastError != "" {
		t.Errorf("%+v", h)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Options{
		"no name":              {Demo: true},
		"separator in name":    {Name: "a___b", Demo: true},
		"no kind":              {Name: "a"},
		"two kinds":            {Name: "a", Demo: true, HTTP: &HTTPOptions{URL: "http://x/"}},
		"empty command":        {Name: "a", Command: &CommandOptions{}},
		"relative url":         {Name: "a", HTTP: &HTTPOptions{URL: "/mcp"}},
		"other scheme":         {Name: "a", HTTP: &HTTPOptions{URL: "ftp://x/"}},
		"password in url":      {Name: "a", HTTP: &HTTPOptions{URL: "https://u:p@x/"}},
		"header of our own":    {Name: "a", HTTP: &HTTPOptions{URL: "https://x/", Headers: headers("mcp-session-id", "x")}},
		"header with new line": {Name: "a", HTTP: &HTTPOptions{URL: "https://x/", Headers: headers("X-Key", "a\nb")}},
		"header name broken":   {Name: "a", HTTP: &HTTPOptions{URL: "https://x/", Headers: headers("X Key", "a")}},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s: accepted", name)
		} else if strings.Contains(err.Error(), "u:p") || strings.Contains(err.Error(), "a\nb") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// server-everything lists a tool only to clients that open URLs for it, and servers may do so with any way of asking.
func TestCatalogIsReadAsAClientThatCanAnswer(t *testing.T) {
	t.Parallel()
	s := testkit.NewMCPServer(t)
	if _, err := started(t, rawOptions(s)).Catalog(t.Context()); err != nil {
		t.Fatal(err)
	}
	params := s.RequestsOf(mcp.MethodInitialize)[0].Params
	for _, way := range [][]string{{"elicitation", "form"}, {"elicitation", "url"}, {"sampling", "tools"}, {"sampling", "context"}, {"roots"}} {
		at, ok := mcp.Lookup(params, "capabilities")
		for _, name := range way {
			if ok {
				at, ok = mcp.Lookup(at, name)
			}
		}
		if !ok {
			t.Errorf("no %s in %s", way, params)
		}
	}
}

// A list that may not be kept is read again when somebody asks, one with a lifetime when that is over.
func TestCatalogObeysTTL(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		ttl  string
		want time.Duration
	}{"not to be kept": {"0", 0}, "a minute": {"60000", time.Minute}, "very long": {"9223372036854775807", longestTTL}, "nonsense": {`"x"`, 0}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testkit.NewStatelessMCPServer(t)
			s.Capabilities = `{"tools":{}}`
			read := make(chan struct{}, 100)
			s.Handle(mcp.MethodToolsList, func(c *testkit.MCPCall) {
				c.Result(`{"resultType":"complete","tools":[{"name":"a"}],"ttlMs":` + tc.ttl + `,"cacheScope":"public"}`)
				read <- struct{}{}
			})
			clock := testkit.NewClock(time.Unix(1_700_000_000, 0))
			o := rawOptions(s)
			o.Now = clock.Now
			tg := started(t, o)
			if c, err := tg.Catalog(t.Context()); err != nil || c.TTL != tc.want {
				t.Fatalf("%+v, %v", c, err)
			}
			receive(t, read, "the first reading")
			if tc.want > 0 {
				clock.Advance(tc.want - 1)
				tg.Touch()
				clock.Advance(1)
			}
			if len(tg.catalog.wake) != 0 {
				t.Error("read again too early")
			}
			tg.Touch()
			receive(t, read, "another reading")
		})
	}
	tg := started(t, rawOptions(testkit.NewMCPServer(t)))
	if c, err := tg.Catalog(t.Context()); err != nil || c.TTL >= 0 {
		t.Errorf("a server of sessions: %+v, %v", c, err)
	}
	tg.Touch()
	if len(tg.catalog.wake) != 0 {
		t.Error("a server of sessions is read again at each request")
	}
}
