package httpd

import (
	"net"
	"sync"
)

// gather stands below a TLS connection. A TLS record holds 16 KiB at most, and is a write of its own: of a large answer,
// gather makes one write of many records. What it holds is encrypted already.
type gather struct {
	net.Conn
	spare *sync.Pool // of *[]byte, each with room for maxHeld

	mu   sync.Mutex // guards what follows: a connection that is cut says good-bye at any time
	held *[]byte    // nil while writes go through
}

// maxHeld is what is gathered before it is written.
const maxHeld = 128 << 10

// Write implements net.Conn.
func (g *gather) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held == nil {
		return g.Conn.Write(p)
	}
	if len(*g.held)+len(p) > maxHeld {
		if err := g.flush(); err != nil {
			return 0, err
		}
	}
	*g.held = append(*g.held, p...)
	return len(p), nil
}

func (g *gather) flush() error {
	_, err := g.Conn.Write(*g.held)
	*g.held = (*g.held)[:0]
	return err
}

// together lets all that write writes leave at once. Only the goroutine that serves the connection calls it.
func (g *gather) together(write func() error) error {
	held, ok := g.spare.Get().(*[]byte)
	if !ok {
		held = new([]byte)
		*held = make([]byte, 0, maxHeld)
	}
	g.mu.Lock()
	g.held = held
	g.mu.Unlock()
	err := write()
	g.mu.Lock()
	defer g.mu.Unlock()
	if err == nil {
		err = g.flush()
	}
	g.held = nil
	*held = (*held)[:0]
	g.spare.Put(held)
	return err
}
