package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"
	"time"
)

// memories is what a process holds in RAM.
type memories struct{ idle, perSession, perStream float64 } // bytes

// held is how many sessions and streams are held at once.
const held = 10_000

// measureMemory uses a process of its own, whose garbage collector works often, so that what is in use is seen and not what
// has not been collected yet.
func (h *house) measureMemory(n int) (memories, error) {
	raiseFileLimit()
	if h.gatehouse != nil {
		h.gatehouse.process.stop()
	}
	if _, err := h.startGatehouse("GOGC=10"); err != nil {
		return memories{}, err
	}
	p := h.gatehouse.process
	time.Sleep(2 * time.Second)
	idle := p.memory()
	people := h.people(min(n, 1000))
	sessions := make([]person, n)
	for i := range sessions {
		sessions[i].token = people[i%len(people)].token
	}
	if err := beginAll(h.gatehouse, people); err != nil { // each token is known before the counting begins
		return memories{}, err
	}
	before := p.memory()
	if err := beginAll(h.gatehouse, sessions); err != nil {
		return memories{}, err
	}
	after := p.memory()
	streams, err := openStreams(h.gatehouse, sessions)
	defer func() {
		for _, c := range streams {
			c.close()
		}
	}()
	if err != nil {
		return memories{}, err
	}
	time.Sleep(2 * time.Second)
	full := p.memory()
	return memories{float64(idle), float64(after-before) / float64(n), float64(full-after) / float64(n)}, nil
}

// openStreams opens a GET stream for each session and waits for its head.
func openStreams(s *subject, sessions []person) ([]*connection, error) {
	var (
		mu    sync.Mutex
		wg    sync.WaitGroup
		out   []*connection
		fault error
		turns = make(chan struct{}, 32)
	)
	for i := range sessions {
		p := &sessions[i]
		turns <- struct{}{}
		wg.Go(func() {
			defer func() { <-turns }()
			c, err := dial(s.addr)
			if err == nil {
				err = c.listen(s, p)
			}
			mu.Lock()
			defer mu.Unlock()
			if c != nil {
				out = append(out, c)
			}
			if err != nil && fault == nil {
				fault = fmt.Errorf("open a stream: %w", err)
			}
		})
	}
	wg.Wait()
	return out, fault
}

// listen opens a session's stream and reads its head.
func (c *connection) listen(s *subject, p *person) error {
	request := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nAccept: text/event-stream\r\nMcp-Protocol-Version: 2025-11-25\r\nMcp-Session-Id: %s\r\n\r\n",
		s.path(false), s.addr, p.token, p.session)
	if _, err := io.WriteString(c.conn, request); err != nil {
		return err
	}
	line, err := c.in.ReadString('\n')
	if err != nil || !strings.Contains(line, " 200 ") {
		return fmt.Errorf("a stream began with %q: %w", line, err)
	}
	c.in = nil // its buffer is not needed any more
	return nil
}

// raiseFileLimit allows as many connections as the system does.
func raiseFileLimit() {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) == nil {
		l.Cur = l.Max
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l)
	}
}

// fetchesForForgedKeys sends tokens that name keys which do not exist, and returns how often the key set was fetched.
func (h *house) fetchesForForgedKeys(n int) (int64, error) {
	before := h.issuer.fetches.Load()
	c, err := dial(h.gatehouse.addr)
	if err != nil {
		return 0, err
	}
	defer c.close()
	for i := range n {
		p := person{token: h.issuer.token("mallory", fmt.Sprintf("key-%d", i)), session: "none"}
		c.out = call{tool: "echo", text: smallText}.append(c.out[:0], h.gatehouse, &p, 1)
		r, err := c.do(c.out, nil)
		if err != nil {
			return 0, err
		}
		if r.status != 401 {
			return 0, fmt.Errorf("a token of an unknown key was answered with status %d", r.status)
		}
	}
	return h.issuer.fetches.Load() - before, nil
}
