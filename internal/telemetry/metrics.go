package telemetry

import (
	"net/http"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics are the numbers about one running Gatehouse, all of which are defined in this file, and described in
// docs/metrics.md. Labels have few values: none is about a person, a client or a session, and none is a name that
// somebody outside has chosen. What targets, key sets and reloads tell may be told to a nil *Metrics, which counts nothing.
type Metrics struct {
	registry *prometheus.Registry
	codes    [600]string // HTTP status codes as texts

	httpRequests, refusals, requests, calls *counters
	callSeconds, targetSeconds              *histograms
	troubles, opened, connections           *counters
	signIns, tokens, keyFetches             *counters
	events, reloads                         *counters
	reloadOK, reloadedAt                    prometheus.Gauge
}

// NewMetrics defines what is counted when it happens.
func NewMetrics(version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	for i := range m.codes {
		m.codes[i] = strconv.Itoa(i)
	}
	m.httpRequests = m.counter("gatehouse_http_requests_total", "HTTP requests that have ended, by route and status code.", "route", "code")
	m.refusals = m.counter("gatehouse_refusals_total", "Requests that were refused, or ended with an error, by the reason of docs/reasons.md.", "route", "reason")

	m.requests = m.counter("gatehouse_mcp_requests_total", "Requests to MCP endpoints that have ended.", "endpoint", "method", "era", "outcome")
	m.calls = m.counter("gatehouse_mcp_calls_total", "Calls that were let through to a target, by how they ended.", "endpoint", "target", "outcome")
	m.callSeconds = m.histogram("gatehouse_mcp_call_duration_seconds", "Time from the head of a call's request to the end of its answer.", "endpoint", "target")
	m.targetSeconds = m.histogram("gatehouse_target_call_duration_seconds", "The part of it from asking the policy until the target's answer was passed on.", "endpoint", "target")

	m.troubles = m.counter("gatehouse_target_troubles_total", "Requests to a target that got no proper answer, its own catalogue included.", "target", "kind")
	m.opened = m.counter("gatehouse_target_sessions_opened_total", "Sessions opened at a target; for a command, places at a process.", "target")
	m.connections = m.counter("gatehouse_target_connections_opened_total", "Network connections opened to targets.")

	m.signIns = m.counter("gatehouse_sign_ins_total", "People who signed in, or tried to.", "provider", "outcome")
	m.tokens = m.counter("gatehouse_tokens_issued_total", "Answers of the token endpoint with an access token.", "grant_type")
	m.keyFetches = m.counter("gatehouse_key_fetches_total", "Attempts to fetch the published keys of an issuer or client.", "url", "outcome")

	m.events = m.counter("gatehouse_audit_events_total", "Audit events that were taken, to be written at once.", "kind")

	m.reloads = m.counter("gatehouse_config_reloads_total", "Attempts to reload the configuration.", "outcome")
	m.reloadOK = prometheus.NewGauge(prometheus.GaugeOpts{Name: "gatehouse_config_last_reload_successful", Help: "Whether the last attempt to read the configuration went well."})
	m.reloadedAt = prometheus.NewGauge(prometheus.GaugeOpts{Name: "gatehouse_config_last_reload_success_timestamp_seconds", Help: "When the configuration in force was read."})
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "gatehouse_build_info", Help: "Always 1.", ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()}})
	build.Set(1)
	m.registry.MustRegister(m.reloadOK, m.reloadedAt, build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	// What has not happened yet stands at 0, so that the first time shows as an increase.
	for _, outcome := range []string{outcomeOK, outcomeFailed} {
		m.reloads.of(labels{outcome})
	}
	for _, grant := range []string{"authorization_code", "client_credentials", "device", "jwt-bearer", "refresh_token"} {
		m.tokens.of(labels{grant})
	}
	return m
}

// Outcomes of what either works or does not.
const (
	outcomeOK     = "ok"
	outcomeFailed = "failed"
)

func outcomeOf(ok bool) string {
	if ok {
		return outcomeOK
	}
	return outcomeFailed
}

// Sources answer what is asked for when somebody looks.
type Sources struct {
	Calls, Parked, Sessions, Streams func() int
	TokensCached                     func() int
	CacheHits, CacheMisses           func() uint64
	RevocationsAge                   func() time.Duration
	AuditWaiting                     func() int // bytes
	AuditRefused, AuditDropped       func() uint64
	AuditFault                       func() error
	Targets                          func() []TargetState
}

// TargetState says how a target is at the moment.
type TargetState struct {
	Name      string
	Up, Shut  bool
	Processes int
}

// Watch defines what is asked for when somebody looks. It is called once.
func (m *Metrics) Watch(s Sources) {
	count := func(f func() int) func() float64 { return func() float64 { return float64(f()) } }
	sum := func(f func() uint64) func() float64 { return func() float64 { return float64(f()) } }
	m.gauge("gatehouse_mcp_calls_in_flight", "Calls under way.", count(s.Calls))
	m.gauge("gatehouse_mcp_calls_parked", "Calls that wait for their client to come back with an answer.", count(s.Parked))
	m.gauge("gatehouse_mcp_sessions", "MCP sessions that live on this copy.", count(s.Sessions))
	m.gauge("gatehouse_mcp_streams", "Streams that clients keep open to hear what happens.", count(s.Streams))

	m.gauge("gatehouse_token_cache_entries", "Verified access tokens that are remembered.", count(s.TokensCached))
	m.total("gatehouse_token_cache_hits_total", "Access tokens that were remembered.", sum(s.CacheHits))
	m.total("gatehouse_token_cache_misses_total", "Access tokens that were not, and had to be verified.", sum(s.CacheMisses))
	m.gauge("gatehouse_revocations_age_seconds", "Time since revocations were last read from the database; beyond max_stale every request is refused.",
		func() float64 { return s.RevocationsAge().Seconds() })

	m.gauge("gatehouse_audit_waiting_bytes", "Audit events that wait for the disk.", count(s.AuditWaiting))
	m.total("gatehouse_audit_refused_total", "Audit events that could not be taken; what they were about was refused.", sum(s.AuditRefused))
	m.total("gatehouse_audit_dropped_total", "Audit events that were given up.", sum(s.AuditDropped))
	m.gauge("gatehouse_audit_failing", "Whether audit events cannot be written at the moment, so that calls are refused.",
		func() float64 { return number(s.AuditFault() != nil) })

	targets := &perTarget{targets: s.Targets}
	targets.gauge("gatehouse_target_up", "Whether the target answered when it was last tried.", func(t TargetState) float64 { return number(t.Up) })
	targets.gauge("gatehouse_target_shut", "Whether calls to the target are refused at once, because it cannot be reached.", func(t TargetState) float64 { return number(t.Shut) })
	targets.gauge("gatehouse_target_processes", "Processes of a target that is a command.", func(t TargetState) float64 { return float64(t.Processes) })
	m.registry.MustRegister(targets)
}

// Handler serves the metrics in the formats of Prometheus.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// HTTP counts a request that has ended; reason is empty when nothing went wrong.
func (m *Metrics) HTTP(route string, status int, reason string) {
	m.httpRequests.of(labels{route, m.codes[min(max(status, 0), len(m.codes)-1)]}).Inc()
	if reason != "" {
		m.refusals.of(labels{route, reason}).Inc()
	}
}

// Request counts a request to an MCP endpoint.
func (m *Metrics) Request(endpoint, method, era, outcome string) {
	m.requests.of(labels{endpoint, method, era, outcome}).Inc()
}

// Answered takes how long a whole call took.
func (m *Metrics) Answered(endpoint, target string, took time.Duration) {
	m.callSeconds.of(labels{endpoint, target}).Observe(took.Seconds())
}

// Call counts a call that ended at a target; took is 0 when there was nothing to wait for.
func (m *Metrics) Call(endpoint, target, outcome string, took time.Duration) {
	m.calls.of(labels{endpoint, target, outcome}).Inc()
	if took > 0 {
		m.targetSeconds.of(labels{endpoint, target}).Observe(took.Seconds())
	}
}

// Target begins the counters of a target.
func (m *Metrics) Target(name string, kinds ...string) {
	if m == nil {
		return
	}
	m.opened.of(labels{name})
	for _, kind := range kinds {
		m.troubles.of(labels{name, kind})
	}
}

// Trouble counts a request that a target did not answer properly.
func (m *Metrics) Trouble(target, kind string) {
	if m != nil {
		m.troubles.of(labels{target, kind}).Inc()
	}
}

// Opened counts a session at a target.
func (m *Metrics) Opened(target string) {
	if m != nil {
		m.opened.of(labels{target}).Inc()
	}
}

// Connected counts a network connection to a target.
func (m *Metrics) Connected() {
	if m != nil {
		m.connections.of(labels{}).Inc()
	}
}

// SignIn counts a person who signed in, or did not get in.
func (m *Metrics) SignIn(provider string, ok bool) {
	m.signIns.of(labels{provider, outcomeOf(ok)}).Inc()
}

// Tokens counts an answer of the token endpoint.
func (m *Metrics) Tokens(grant string) { m.tokens.of(labels{grant}).Inc() }

// Keys returns what counts the attempts to fetch the keys at a URL; nil when nothing is counted.
func (m *Metrics) Keys(url string) func(error) {
	if m == nil {
		return nil
	}
	ok, failed := m.keyFetches.of(labels{url, outcomeOK}), m.keyFetches.of(labels{url, outcomeFailed})
	return func(err error) {
		if err == nil {
			ok.Inc()
		} else {
			failed.Inc()
		}
	}
}

// Event counts an audit event.
func (m *Metrics) Event(kind string) { m.events.of(labels{kind}).Inc() }

// Configured notes that a configuration was read, or could not be; the first is the one that Gatehouse started with.
func (m *Metrics) Configured(first bool, err error, now time.Time) {
	if m == nil {
		return
	}
	if !first {
		m.reloads.of(labels{outcomeOf(err == nil)}).Inc()
	}
	m.reloadOK.Set(number(err == nil))
	if err == nil {
		m.reloadedAt.Set(float64(now.UnixMilli()) / 1000)
	}
}
