package telemetry

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// labels are the values of a metric's labels, in order; those that it does not have stay empty.
type labels [4]string

// maxSeries bounds the series of one metric. Labels have few values as it is; this holds when something has been
// overlooked.
const maxSeries = 2000

// series are the counters or histograms of one metric, by the values of its labels. They stand in lists that only ever grow, so
// that finding what is already there takes no lock. A map would hash all labels, which costs more than the counting.
type series[C any] struct {
	with  func(values ...string) (C, error)
	n     int // labels of the metric
	lists [64]atomic.Pointer[made[C]]

	mu    sync.Mutex // held while something is made
	count int
}

// made is what stands in a list of series. It never changes.
type made[C any] struct {
	values []string
	c      C
	next   *made[C]
}

func newSeries[C any](n int, with func(values ...string) (C, error)) *series[C] {
	return &series[C]{with: with, n: n}
}

// find returns the series with these values, in a list that begins with m; nil when it is not there.
func (m *made[C]) find(values []string) *made[C] {
	for m != nil && !slices.Equal(m.values, values) {
		m = m.next
	}
	return m
}

// list returns the list in which a series stands, if it was made. Length and last byte tell most values of labels apart.
func (s *series[C]) list(values []string) *atomic.Pointer[made[C]] {
	n := 0
	for _, v := range values {
		n = 31*n + len(v)
		if v != "" {
			n += int(v[len(v)-1])
		}
	}
	return &s.lists[uint(n)%uint(len(s.lists))]
}

func (s *series[C]) of(l labels) C {
	values := l[:s.n]
	if m := s.list(values).Load().find(values); m != nil {
		return m.c
	}
	return s.add(l)
}

// add makes the counter or histogram that of did not find. In a value that is not UTF-8, which Prometheus would refuse,
// the faulty bytes become "?". When the metric has maxSeries series, everything new is counted under "other".
func (s *series[C]) add(l labels) C {
	values := make([]string, s.n)
	for i, v := range l[:s.n] {
		values[i] = strings.ToValidUTF8(v, "?")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.list(values)
	first := list.Load()
	if m := first.find(values); m != nil {
		return m.c
	}
	if s.count >= maxSeries {
		c, _ := s.with(slices.Repeat([]string{"other"}, s.n)...)
		return c
	}
	c, _ := s.with(values...)
	s.count++
	list.Store(&made[C]{values, c, first})
	return c
}

type (
	counters   = series[prometheus.Counter]
	histograms = series[prometheus.Observer]
)

// counter defines a metric that counts.
func (m *Metrics) counter(name, help string, names ...string) *counters {
	vec := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, names)
	m.registry.MustRegister(vec)
	s := newSeries(len(names), vec.GetMetricWithLabelValues)
	if len(names) == 0 {
		s.of(labels{})
	}
	return s
}

// histogram defines a metric of durations.
func (m *Metrics) histogram(name, help string, names ...string) *histograms {
	vec := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: []float64{
		0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300,
	}}, names)
	m.registry.MustRegister(vec)
	return newSeries(len(names), vec.GetMetricWithLabelValues)
}

// gauge defines a metric that is asked for when somebody looks.
func (m *Metrics) gauge(name, help string, value func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
}

// total is gauge for what only grows.
func (m *Metrics) total(name, help string, value func() float64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, value))
}

// perTarget is a gauge for each target that there is at the moment.
type perTarget struct {
	targets func() []TargetState
	gauges  []targetGauge
}

type targetGauge struct {
	desc  *prometheus.Desc
	value func(TargetState) float64
}

func (p *perTarget) gauge(name, help string, value func(TargetState) float64) {
	p.gauges = append(p.gauges, targetGauge{prometheus.NewDesc(name, help, []string{"target"}, nil), value})
}

// Describe implements prometheus.Collector.
func (p *perTarget) Describe(to chan<- *prometheus.Desc) {
	for _, g := range p.gauges {
		to <- g.desc
	}
}

// Collect implements prometheus.Collector.
func (p *perTarget) Collect(to chan<- prometheus.Metric) {
	for _, t := range p.targets() {
		for _, g := range p.gauges {
			to <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, g.value(t), t.Name)
		}
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
