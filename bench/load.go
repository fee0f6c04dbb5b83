package main

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// load is a closed loop: so many connections, each of which sends its next call when the last one was answered.
type load struct {
	to          *subject
	call        call
	people      []person
	connections int
	calls       int
	bad         func(n int64) string // every second call carries this token, and has to be refused
	fresh       bool                 // each call has a connection of its own
}

// outcome is what a load saw. Times are only of calls that were accepted.
type outcome struct {
	calls  int
	took   time.Duration
	times  []time.Duration // sorted
	delays []time.Duration // of events, sorted
}

func (o *outcome) rate() float64 { return float64(o.calls) / o.took.Seconds() }

func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

var lastID atomic.Int64

// run makes the calls and returns the first wrong answer as an error.
func (l load) run() (*outcome, error) {
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		next  atomic.Int64
		fault error
	)
	o := &outcome{}
	began := time.Now()
	for range l.connections {
		wg.Go(func() {
			times, delays, err := l.work(&next)
			mu.Lock()
			defer mu.Unlock()
			o.times, o.delays = append(o.times, times...), append(o.delays, delays...)
			if err != nil && fault == nil {
				fault = fmt.Errorf("%s, %s: %w", l.to.name, l.call.tool, err)
				next.Store(int64(l.calls)) // the others need not go on
			}
		})
	}
	wg.Wait()
	o.took, o.calls = time.Since(began), l.calls
	slices.Sort(o.times)
	slices.Sort(o.delays)
	return o, fault
}

func (l load) work(next *atomic.Int64) (times, delays []time.Duration, err error) {
	c, err := l.to.dial()
	if err != nil {
		return nil, nil, err
	}
	defer func() { c.close() }()
	times = make([]time.Duration, 0, l.calls/l.connections+1)
	for {
		n := next.Add(1) - 1
		if n >= int64(l.calls) {
			return times, delays, nil
		}
		began := time.Now()
		p, refused := &l.people[n%int64(len(l.people))], false
		if l.bad != nil && n%2 == 1 {
			p, refused = &person{token: l.bad(n), session: p.session}, true
		}
		id := lastID.Add(1)
		c.out = l.call.append(c.out[:0], l.to, p, id)
		r, err := c.do(c.out, l.onEvent(&delays))
		switch {
		case err != nil:
		case refused && r.status != 401:
			err = fmt.Errorf("a bad token was answered with status %d", r.status)
		case !refused:
			err = l.call.check(r, id)
			times = append(times, time.Since(began))
		}
		if err != nil {
			return times, delays, err
		}
		if r.closing || l.fresh {
			c.close()
			if c, err = l.to.dial(); err != nil {
				return times, delays, err
			}
		}
	}
}

// onEvent measures how long each progress event was on its way.
func (l load) onEvent(delays *[]time.Duration) func([]byte) {
	if l.call.tool != "progress" {
		return nil
	}
	return func(data []byte) {
		var sent int64
		if raw := field(data, "sent"); raw != nil {
			for _, c := range raw {
				sent = sent*10 + int64(c-'0')
			}
			*delays = append(*delays, time.Since(epoch)-time.Duration(sent))
		}
	}
}
