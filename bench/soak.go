package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
)

func soakCommand() *cobra.Command {
	minutes := 3.0
	binary := ""
	cmd := &cobra.Command{
		Use: "soak", Short: "Load Gatehouse for a while, with everything going wrong around it",
		Long: `Calls tools for some minutes while the configuration is reloaded, the MCP server is cut off and comes back, people get
new tokens, and clients vanish in the middle of calls. In the end no answer may have been wrong, and memory and
descriptors must be where they were.`,
		Example: "  go run ./bench soak --minutes 20",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if done, err := onOwnCore(); done || err != nil {
				return err
			}
			return soak(time.Duration(minutes*float64(time.Minute)), binary)
		},
	}
	cmd.Flags().Float64Var(&minutes, "minutes", minutes, "how long")
	cmd.Flags().StringVar(&binary, "binary", "", "measure this program instead of building one")
	return cmd
}

// tally is what happened.
type tally struct {
	right, failed, vanished, reloads, cuts, rotations atomic.Int64

	mu    sync.Mutex
	wrong []error
}

func (t *tally) isWrong(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.wrong = append(t.wrong, err); len(t.wrong) <= 5 {
		say("WRONG: %v", err)
	}
}

func soak(length time.Duration, binary string) error {
	say("building and starting")
	h, err := newHouse(binary)
	if err != nil {
		return err
	}
	defer h.close()
	h.limits = ", session_idle: 1m" // callers leave their sessions behind: soon as many end as begin, as after a day's work
	if _, err := h.startGatehouse(); err != nil {
		return err
	}
	var (
		t    tally
		wg   sync.WaitGroup
		stop = make(chan struct{})
	)
	for n := range 8 {
		wg.Go(func() { h.caller(n, &t, stop) })
	}
	wg.Go(func() { h.vanisher(&t, stop) })
	wg.Go(func() { h.reloader(&t, stop) })
	wg.Go(func() { h.cutter(&t, stop) })

	warm := max(length/4, min(length/2, 150*time.Second)) // what is kept for two minutes is there
	time.Sleep(warm)
	memory, files := h.gatehouse.process.memory(), h.gatehouse.process.descriptors()
	say("after %s: %d right, %.1f MiB, %d descriptors", warm, t.right.Load(), mib(memory), files)
	for left := length - warm; left > 0; left -= min(left, 30*time.Second) {
		time.Sleep(min(left, 30*time.Second))
		say("%d right, %d failed while cut off, %d vanished, %d reloads, %d cuts, %d new tokens; %.1f MiB, %d descriptors", t.right.Load(), t.failed.Load(),
			t.vanished.Load(), t.reloads.Load(), t.cuts.Load(), t.rotations.Load(), mib(h.gatehouse.process.memory()), h.gatehouse.process.descriptors())
	}
	close(stop)
	wg.Wait()
	time.Sleep(3 * time.Second) // what vanished is let go
	return h.verdict(&t, memory, files)
}

// verdict says what is wrong in the end.
func (h *house) verdict(t *tally, memory int64, files int) error {
	after, open := h.gatehouse.process.memory(), h.gatehouse.process.descriptors()
	fmt.Printf("%d answers right, %d wrong; %d calls failed while the server was cut off; %d clients vanished; %d reloads, %d cuts, %d new tokens\n",
		t.right.Load(), len(t.wrong), t.failed.Load(), t.vanished.Load(), t.reloads.Load(), t.cuts.Load(), t.rotations.Load())
	fmt.Printf("memory %.1f MiB, then %.1f MiB; descriptors %d, then %d\n", mib(memory), mib(after), files, open)
	var out []error
	if len(t.wrong) > 0 {
		out = append(out, fmt.Errorf("%d wrong answers, the first: %w", len(t.wrong), t.wrong[0]))
	}
	if t.right.Load() < 1000 || t.reloads.Load() == 0 || t.cuts.Load() == 0 || t.vanished.Load() == 0 {
		out = append(out, errors.New("too little happened to say anything"))
	}
	if after > memory+memory/4+(8<<20) {
		out = append(out, fmt.Errorf("memory grew from %.1f to %.1f MiB", mib(memory), mib(after)))
	}
	if open > files+64 {
		out = append(out, fmt.Errorf("descriptors grew from %d to %d", files, open))
	}
	if err := errors.Join(out...); err != nil {
		return fmt.Errorf("%w\n%s", err, tail(h.gatehouse.process.log.String()))
	}
	return nil
}

func ended(stop <-chan struct{}) bool {
	select {
	case <-stop:
		return true
	default:
		return false
	}
}

// caller makes calls of all kinds, with a new token and session now and then.
func (h *house) caller(n int, t *tally, stop <-chan struct{}) {
	mix := []call{{tool: "echo", text: smallText}, {tool: "echo", text: smallText, stateless: true}, {tool: "text"}, {tool: "rows", stateless: true}, {tool: "progress"}}
	var c *connection
	p := person{}
	for round := 0; !ended(stop); round++ {
		if c == nil {
			var err error
			if c, err = dial(h.gatehouse.addr); err != nil {
				t.isWrong(err)
				return
			}
		}
		if p.session == "" || round%500 == 0 {
			p.token = h.issuer.token(fmt.Sprintf("soaker-%d-%d", n, round/2000), "")
			t.rotations.Add(1)
			if err := p.beginOn(c, h.gatehouse); err != nil {
				t.isWrong(err)
				return
			}
		}
		k, id := mix[(round+n)%len(mix)], lastID.Add(1)
		c.out = k.append(c.out[:0], h.gatehouse, &p, id)
		r, err := c.do(c.out, nil)
		switch {
		case err != nil:
			t.isWrong(fmt.Errorf("%s: %w", k.tool, err))
			c.close()
			c, p.session = nil, ""
			continue
		case k.check(r, id) == nil:
			t.right.Add(1)
		case isTrouble(r): // the server is cut off: the answer says so
			t.failed.Add(1)
		default:
			t.isWrong(fmt.Errorf("%s: %w", k.tool, k.check(r, id)))
		}
		if r.closing {
			c.close()
			c = nil
		}
	}
	if c != nil {
		c.close()
	}
}

// isTrouble reports whether an answer says in the words of the protocol that the server behind cannot be reached.
func isTrouble(r reply) bool {
	return r.status == 200 && containsAny(r.body, `"isError":true`, `"error":{`) || r.status >= 500 && containsAny(r.body, `"error"`)
}

// vanisher begins calls and goes away.
func (h *house) vanisher(t *tally, stop <-chan struct{}) {
	p := person{token: h.issuer.token("vanisher", "")}
	for n := 0; !ended(stop); n++ {
		if n%50 == 0 {
			if err := p.begin(h.gatehouse); err != nil {
				t.isWrong(err)
				return
			}
		}
		c, err := dial(h.gatehouse.addr)
		if err != nil {
			t.isWrong(err)
			return
		}
		k := call{tool: []string{"progress", "text", "echo"}[n%3], text: smallText, stateless: n%2 == 0}
		request := k.append(nil, h.gatehouse, &p, lastID.Add(1))
		if n%5 == 0 {
			request = request[:len(request)*2/3] // in the middle of the request
		}
		_ = c.conn.SetDeadline(time.Now().Add(200 * time.Millisecond))
		_, _ = c.conn.Write(request)
		if n%4 == 1 {
			_, _ = io.CopyN(io.Discard, c.conn, 64) // in the middle of the answer
		}
		c.close()
		t.vanished.Add(1)
		time.Sleep(20 * time.Millisecond)
	}
}

// reloader changes the configuration, which takes effect by itself.
func (h *house) reloader(t *tally, stop <-chan struct{}) {
	file := filepath.Join(h.dir, "gatehouse.yaml")
	base := h.config(h.gatehouse.addr)
	for n := 0; !ended(stop); n++ {
		text := fmt.Sprintf("%s# version %d\nmax_stale: %dm\n", base, n, 5+n%3)
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.isWrong(err)
			return
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.isWrong(err)
			return
		}
		t.reloads.Add(1)
		pause(2*time.Second, stop)
	}
}

// cutter takes the MCP server away for a moment, with all its connections.
func (h *house) cutter(t *tally, stop <-chan struct{}) {
	for !ended(stop) {
		pause(10*time.Second, stop)
		if err := h.session.restart(500 * time.Millisecond); err != nil {
			t.isWrong(err)
			return
		}
		t.cuts.Add(1)
	}
}

func pause(d time.Duration, stop <-chan struct{}) {
	select {
	case <-stop:
	case <-time.After(d):
	}
}

// restart closes the server and its connections, and opens it again at the same address.
func (s *stub) restart(away time.Duration) error {
	addr := s.addr()
	s.close()
	s.mu.Lock()
	for c := range s.open {
		_ = c.Close()
	}
	s.mu.Unlock()
	time.Sleep(away)
	for range 50 {
		l, err := net.Listen("tcp", addr)
		if err == nil {
			s.listener = l
			go s.accept(l)
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("the MCP server does not get its address %s back", addr)
}
