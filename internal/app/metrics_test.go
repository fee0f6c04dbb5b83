package app

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"gatehouse/internal/testkit"
)

// sample is one line of /metrics.
type sample struct {
	name   string
	labels map[string]string
	value  float64
}

// scraped is what /metrics said at one moment.
type scraped struct {
	text    string
	types   map[string]string // by name
	samples []sample
}

var (
	sampleLine = regexp.MustCompile(`^([a-z_]+)(?:\{(.*)\})? (\S+)$`)
	labelPair  = regexp.MustCompile(`([a-z_]+)="((?:[^"\\]|\\.)*)"`)
)

func scrape(t *testing.T, address string) *scraped {
	t.Helper()
	resp, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%d %s %v", resp.StatusCode, raw, err)
	}
	s := &scraped{text: string(raw), types: map[string]string{}}
	for line := range strings.Lines(s.text) {
		line = strings.TrimSpace(line)
		if f := strings.Fields(line); f[0] == "#" {
			if f[1] == "TYPE" {
				s.types[f[2]] = f[3]
			}
			continue
		}
		m := sampleLine.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("cannot read %q", line)
		}
		one := sample{name: m[1], labels: map[string]string{}}
		if one.value, err = strconv.ParseFloat(m[3], 64); err != nil {
			t.Fatal(err)
		}
		for _, l := range labelPair.FindAllStringSubmatch(m[2], -1) {
			if one.labels[l[1]], err = strconv.Unquote(`"` + l[2] + `"`); err != nil {
				t.Fatal(err)
			}
		}
		s.samples = append(s.samples, one)
	}
	return s
}

// sum adds up the samples that a selector, such as name{label="value"}, selects.
func (s *scraped) sum(selector string) (sum float64, found bool) {
	name, labels, _ := strings.Cut(selector, "{")
	want := labelPair.FindAllStringSubmatch(labels, -1)
	for _, one := range s.samples {
		if one.name == name && !slices.ContainsFunc(want, func(l []string) bool { return one.labels[l[1]] != l[2] }) {
			sum, found = sum+one.value, true
		}
	}
	return sum, found
}

// family is the name under which a sample was defined: histograms have several.
func (s *scraped) family(name string) string {
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if base, ok := strings.CutSuffix(name, suffix); ok && s.types[base] == "histogram" {
			return base
		}
	}
	return name
}

// busyHouse is a Gatehouse in which everything has happened that is counted. It returns where its metrics are, and what
// must not be in them.
func busyHouse(t *testing.T) (address string, private []string) {
	t.Helper()
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	idp, web := testkit.NewIDP(t, ""), testkit.NewMCPServer(t)
	idp.SetDown(true)
	web.Tool("weather", `{"type":"object"}`, func(c *testkit.MCPCall) { c.Result(`{"content":[{"type":"text","text":"rain"}]}`) })
	web.Tool("closed", `{"type":"object"}`, func(c *testkit.MCPCall) { c.W.WriteHeader(http.StatusForbidden) })
	port := freePort(t)
	settings := fmt.Sprintf(`
metrics: {listen: "127.0.0.1:%d"}
authorizers:
  - {name: idp, discovery_url: %q, allowed_audience: [x], allowed_clients: [y]}
targets:
  web: {url: %q}
  gone: {url: "http://%s/mcp"}
endpoints:
  /mcp: {issuers: [gatehouse, idp], access: any_signed_in, targets: [web, gone]}
`, port, idp.DiscoveryURL(), web.URL, nobody.Addr())
	h := openHouse(t, settings)

	b := testkit.NewBrowser(t)
	b.Password(b.Open(h.url+"/account"), "alice", "not her password")
	c := connect(h, "/mcp")
	if status, doc := c.refreshTokens(); status != http.StatusOK {
		t.Fatalf("%d %v", status, doc)
	}
	for range 3 {
		c.mustCall("web___weather", `{"text":"secret-argument"}`)
	}
	if a := c.call("web___closed", `{}`); a.Result["isError"] != true {
		t.Errorf("%s", a)
	}
	if a := c.call("secret-name", `{}`); a.Error == nil {
		t.Errorf("%s", a)
	}
	if a := c.rpc("secret/method", `{}`); a.Error == nil {
		t.Errorf("%s", a)
	}
	c.rpc("tools/list", `{}`)
	modern := c.request(t.Context(), http.MethodPost, `{"jsonrpc":"2.0","id":"m","method":"tools/call","params":{"name":"web___weather","arguments":{},`+
		`"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`)
	modern.Header.Del("Mcp-Session-Id")
	for name, value := range map[string]string{"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "web___weather"} {
		modern.Header.Set(name, value)
	}
	if a, err := c.tryPost(modern); err != nil || a.Result == nil {
		t.Errorf("%s %v", a, err)
	}
	stranger := newClient(h, "/mcp")
	stranger.access = "secret-token"
	if a := stranger.rpc("initialize", initializeParams); a.status != http.StatusUnauthorized {
		t.Errorf("%s", a)
	}
	idp.AddKey(t, "RS256")
	stranger.access = idp.Mint(t, idp.Claims(time.Now(), nil)) // the keys cannot be had
	if a := stranger.rpc("initialize", initializeParams); a.status != http.StatusServiceUnavailable {
		t.Errorf("%s", a)
	}
	stream, err := (&http.Client{Transport: c.http.Transport}).Do(c.request(context.WithoutCancel(t.Context()), http.MethodGet, ""))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stream.Body.Close() })
	if h.reload("nonsense: true\n") || !h.reload(settings) {
		t.Error("not reloaded as expected")
	}
	return fmt.Sprintf("http://127.0.0.1:%d/metrics", port), []string{"secret", "alice", "ALICE", "weather", "assistant", c.id, c.session, c.access, c.refresh}
}

// TestMetrics: what has happened is in the metrics, in the words that the documents, the alert rules and the dashboard
// know, and nothing about persons is.
func TestMetrics(t *testing.T) {
	t.Parallel()
	address, private := busyHouse(t)
	want := map[string]float64{
		`gatehouse_mcp_requests_total{endpoint="/mcp",method="tools/call",era="session",outcome="ok"}`:    4,
		`gatehouse_mcp_requests_total{endpoint="/mcp",method="tools/call",era="stateless",outcome="ok"}`:  1,
		`gatehouse_mcp_requests_total{endpoint="/mcp",method="tools/call",era="session",outcome="error"}`: 1,
		`gatehouse_mcp_requests_total{endpoint="/mcp",method="other",era="session",outcome="error"}`:      1,
		`gatehouse_mcp_requests_total{endpoint="/mcp",method="initialize",era="session",outcome="ok"}`:    1,
		`gatehouse_mcp_requests_total{endpoint="/mcp",method="unread",outcome="unauthorized"}`:            2, // connect begins with one
		`gatehouse_mcp_requests_total{endpoint="/mcp",method="unread",outcome="failed"}`:                  1,

		`gatehouse_mcp_calls_total{endpoint="/mcp",target="web",outcome="ok"}`:                          4,
		`gatehouse_mcp_calls_total{endpoint="/mcp",target="web",outcome="trouble: credential_refused"}`: 1,
		`gatehouse_mcp_call_duration_seconds_count{endpoint="/mcp",target="web"}`:                       5,
		`gatehouse_target_call_duration_seconds_count{endpoint="/mcp",target="web"}`:                    5,
		`gatehouse_mcp_call_duration_seconds_bucket{endpoint="/mcp",target="web",le="+Inf"}`:            5,

		`gatehouse_refusals_total{route="/mcp",reason="unknown_name"}`:     1,
		`gatehouse_refusals_total{route="/mcp",reason="token_malformed"}`:  1,
		`gatehouse_refusals_total{route="/mcp",reason="keys_unavailable"}`: 1,
		`gatehouse_http_requests_total{route="/mcp",code="401"}`:           2,
		`gatehouse_http_requests_total{route="/token",code="200"}`:         2,
		`gatehouse_mcp_sessions`:                                         2, // that of a person in the stateless era too
		`gatehouse_mcp_streams`:                                          1,
		`gatehouse_mcp_calls_in_flight`:                                  0,
		`gatehouse_target_up{target="web"}`:                              1,
		`gatehouse_target_up{target="gone"}`:                             0,
		`gatehouse_target_shut{target="gone"}`:                           1,
		`gatehouse_target_troubles_total{target="web",kind="down"}`:      0,
		`gatehouse_sign_ins_total{provider="built-in",outcome="ok"}`:     1,
		`gatehouse_sign_ins_total{provider="built-in",outcome="failed"}`: 1,
		`gatehouse_tokens_issued_total{grant_type="authorization_code"}`: 1,
		`gatehouse_tokens_issued_total{grant_type="refresh_token"}`:      1,
		`gatehouse_audit_events_total{kind="consent"}`:                   1,
		`gatehouse_audit_events_total{kind="call"}`:                      6,
		`gatehouse_audit_failing`:                                        0,
		`gatehouse_config_reloads_total{outcome="ok"}`:                   1,
		`gatehouse_config_reloads_total{outcome="failed"}`:               1,
		`gatehouse_config_last_reload_successful`:                        1,
		`gatehouse_build_info{version="test"}`:                           1,
	}
	var s *scraped
	differs := func() (what []string) {
		s = scrape(t, address)
		for _, selector := range slices.Sorted(maps.Keys(want)) {
			if got, found := s.sum(selector); !found || got != want[selector] {
				what = append(what, fmt.Sprintf("%s is %v (%v), want %v", selector, got, found, want[selector]))
			}
		}
		return what
	}
	for deadline := time.Now().Add(patience); len(differs()) > 0 && time.Now().Before(deadline); { // a request is counted after its answer
		time.Sleep(20 * time.Millisecond)
	}
	for _, what := range differs() {
		t.Error(what)
	}
	for _, least := range []string{`gatehouse_target_troubles_total{target="web",kind="credential_refused"}`, `gatehouse_target_troubles_total{target="gone",kind="down"}`,
		`gatehouse_key_fetches_total{outcome="failed"}`, `gatehouse_target_connections_opened_total`, `gatehouse_target_sessions_opened_total{target="web"}`,
		`gatehouse_token_cache_hits_total`, `gatehouse_token_cache_misses_total`, `gatehouse_token_cache_entries`, `gatehouse_config_last_reload_success_timestamp_seconds`} {
		if got, _ := s.sum(least); got < 1 {
			t.Errorf("%s is %v", least, got)
		}
	}
	for _, word := range private {
		if word == "" || strings.Contains(s.text, word) {
			t.Errorf("%q is in the metrics, or empty", word)
		}
	}
	t.Run("documented", func(t *testing.T) { documented(t, s) })
	t.Run("alerts and dashboard", func(t *testing.T) {
		for _, e := range append(alertRules(t), dashboardQueries(t)...) {
			s.check(t, e)
		}
	})
}

// documented holds docs/metrics.md against a scrape: every metric of ours with its labels, and no other.
func documented(t *testing.T, s *scraped) {
	raw, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	served := map[string]string{} // name → type and labels
	for _, one := range s.samples {
		if name := s.family(one.name); strings.HasPrefix(name, "gatehouse_") {
			labels := slices.Sorted(maps.Keys(one.labels))
			labels = slices.DeleteFunc(labels, func(l string) bool { return l == "le" })
			served[name] = s.types[name] + " " + strings.Join(labels, " ")
		}
	}
	listed := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(gatehouse_[a-z_]+)` \\| ([a-z]+) \\| ([^|]*)\\|").FindAllStringSubmatch(string(raw), -1) {
		var labels []string
		for _, l := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(m[3], -1) {
			labels = append(labels, l[1])
		}
		slices.Sort(labels)
		listed[m[1]] = m[2] + " " + strings.Join(labels, " ")
	}
	for name, is := range served {
		if listed[name] != is {
			t.Errorf("%s is %q; docs/metrics.md says %q", name, is, listed[name])
		}
	}
	for name := range listed {
		if served[name] == "" {
			t.Errorf("docs/metrics.md has %s, which is not served", name)
		}
	}
	for _, m := range regexp.MustCompile("`((?:go|process)_[a-z_]+)`").FindAllStringSubmatch(string(raw), -1) {
		if s.types[m[1]] == "" {
			t.Errorf("docs/metrics.md has %s, which is not served", m[1])
		}
	}
}

// expression is a query of PromQL and where it stands.
type expression struct{ where, text string }

// alertRules reads the alert rules, of which each says how bad it is and what to do.
func alertRules(t *testing.T) (all []expression) {
	raw, err := os.ReadFile("../../deploy/prometheus/gatehouse-alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert       string            `yaml:"alert"`
				Expr        string            `yaml:"expr"`
				Labels      map[string]string `yaml:"labels"`
				Annotations map[string]string `yaml:"annotations"`
			} `yaml:"rules"`
		} `yaml:"groups"`
	}
	if err := yaml.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			all = append(all, expression{"alert " + r.Alert, r.Expr})
			if r.Labels["severity"] == "" || r.Annotations["summary"] == "" || r.Annotations["action"] == "" {
				t.Errorf("alert %s lacks its severity, its summary or what to do", r.Alert)
			}
			for _, m := range regexp.MustCompile(`\$labels\.([a-z_]+)`).FindAllStringSubmatch(r.Annotations["summary"]+r.Annotations["action"], -1) {
				if grouped := groupings(r.Expr); len(grouped) > 0 && !slices.Contains(grouped, m[1]) {
					t.Errorf("alert %s speaks of %s, which its expression does not keep", r.Alert, m[1])
				}
			}
		}
	}
	if len(all) < 10 {
		t.Errorf("found only %d alert rules", len(all))
	}
	return all
}

// dashboardQueries reads what the panels, the annotations and the variables of the dashboard ask for.
func dashboardQueries(t *testing.T) (all []expression) {
	raw, err := os.ReadFile("../../deploy/grafana/gatehouse.json")
	if err != nil {
		t.Fatal(err)
	}
	type query struct{ Expr string }
	var board struct {
		Panels []struct {
			Type, Title string
			Targets     []query
		}
		Annotations struct{ List []query }
		Templating  struct {
			List []struct{ Name, Type, Definition string }
		}
	}
	if err := json.Unmarshal(raw, &board); err != nil {
		t.Fatal(err)
	}
	for _, p := range board.Panels {
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %s asks for nothing", p.Title)
		}
		for _, q := range p.Targets {
			all = append(all, expression{"panel " + p.Title, q.Expr})
		}
	}
	for _, q := range board.Annotations.List {
		all = append(all, expression{"annotation", q.Expr})
	}
	for _, v := range board.Templating.List {
		if m := regexp.MustCompile(`^label_values\((.*), (\w+)\)$`).FindStringSubmatch(v.Definition); m != nil {
			all = append(all, expression{"variable " + v.Name, "sum by (" + m[2] + ") (" + m[1] + ")"})
		} else if v.Type == "query" {
			t.Errorf("variable %s: cannot read %q", v.Name, v.Definition)
		}
	}
	if len(all) < 30 {
		t.Errorf("found only %d queries", len(all))
	}
	return all
}

var (
	selected = regexp.MustCompile(`\b((?:gatehouse|go|process)_[a-z_]+|up)\b(?:\{([^}]*)\})?`)
	matcher  = regexp.MustCompile(`([a-z_]+)\s*(=~|!~|!=|=)\s*"([^"]*)"`)
	grouping = regexp.MustCompile(`\bby \(([a-z_, ]+)\)`)
)

func groupings(query string) (labels []string) {
	for _, m := range grouping.FindAllStringSubmatch(query, -1) {
		labels = append(labels, strings.Split(m[1], ", ")...)
	}
	return labels
}

// check looks whether each selector of a query finds something in a scrape, and whether the labels it groups by are
// there. Whoever scrapes adds job and instance; what begins with a dollar sign is a variable.
func (s *scraped) check(t *testing.T, e expression) {
	known := map[string]bool{"job": true, "instance": true}
	selectors := selected.FindAllStringSubmatch(e.text, -1)
	if len(selectors) == 0 {
		t.Errorf("%s: no metric in %s", e.where, e.text)
	}
	for _, m := range selectors {
		if m[1] == "up" { // the scraper's own
			continue
		}
		found := false
		for _, one := range s.samples {
			if one.name == m[1] && matches(one.labels, m[2]) {
				found = true
				for l := range one.labels {
					known[l] = true
				}
			}
		}
		if !found {
			t.Errorf("%s: nothing is found by %s in\n%s", e.where, m[0], e.text)
		}
	}
	for _, l := range groupings(e.text) {
		if !known[l] {
			t.Errorf("%s: there is no label %s for\n%s", e.where, l, e.text)
		}
	}
}

func matches(labels map[string]string, matchers string) bool {
	for _, m := range matcher.FindAllStringSubmatch(matchers, -1) {
		value, there := labels[m[1]]
		if m[1] == "job" || m[1] == "instance" {
			continue
		}
		holds := value == m[3]
		if strings.HasSuffix(m[2], "~") {
			holds = regexp.MustCompile("^(?:" + m[3] + ")$").MatchString(value)
		}
		if strings.HasPrefix(m[3], "$") {
			holds = true
		}
		if !there || holds == strings.HasPrefix(m[2], "!") {
			return false
		}
	}
	return true
}

// TestWhoMayScrape: metrics are at an address of their own, for whoever has the token, and for nobody who came there by
// a name that was pointed at this machine.
func TestWhoMayScrape(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	h := prepareHouse(t, demoOnly+fmt.Sprintf("metrics: {listen: \"127.0.0.1:%d\", token: {file: token}}\n", port))
	h.write("token", "sesame\n")
	h.start()
	address := fmt.Sprintf("http://127.0.0.1:%d", port)
	for name, tc := range map[string]struct {
		url, token, host string
		status           int
	}{
		"the scraper":       {address + "/metrics", "Bearer sesame", "", 200},
		"by name":           {address + "/metrics", "Bearer sesame", "localhost", 200},
		"no token":          {address + "/metrics", "", "", 401},
		"another token":     {address + "/metrics", "Bearer sesam", "", 401},
		"another scheme":    {address + "/metrics", "sesame", "", 401},
		"a rebound name":    {address + "/metrics", "Bearer sesame", "evil.example:9464", 421},
		"another path":      {address + "/mcp", "Bearer sesame", "", 404},
		"where clients are": {h.url + "/metrics", "Bearer sesame", "", 404},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, tc.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if r.Host = tc.host; tc.token != "" {
			r.Header.Set("Authorization", tc.token)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != tc.status || strings.Contains(string(body), "gatehouse_build_info") != (tc.status == 200) {
			t.Errorf("%s: %d, %.200s, %v", name, resp.StatusCode, body, err)
		}
	}
	if h.reload(demoOnly) {
		t.Error("a reload took another address for metrics")
	}
}

// TestNoMetrics: without the setting nothing listens, and nothing is counted.
func TestNoMetrics(t *testing.T) {
	t.Parallel()
	h := openHouse(t, demoOnly)
	connect(h, "/mcp").mustCall("demo___echo", `{"text":"x"}`)
	if h.app.metrics != nil {
		t.Error("metrics are counted")
	}
}

// TestTakenMetricsPort: it is said at the start, and by name.
func TestTakenMetricsPort(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	h := prepareHouse(t, demoOnly+fmt.Sprintf("metrics: {listen: %q}\n", l.Addr()))
	if err := h.tryStart(); err == nil || !strings.Contains(err.Error(), "metrics.listen") {
		t.Errorf("%v", err)
	}
}
