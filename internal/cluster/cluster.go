package cluster

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/seal"
)

// Options say how this copy joins the others. All but Log are required.
type Options struct {
	Keys    *seal.Keyring
	Origin  string // the public one, which all copies serve
	Listen  string // host:port
	Address string // host:port at which other copies reach this one
	Log     *slog.Logger

	// Serve answers a request that another copy took, for a person whom that copy verified.
	Serve func(w http.ResponseWriter, r *http.Request, who *identity.Principal, endpoint string)
}

// Copies is this copy's way to the others. It is safe for concurrent use.
type Copies struct {
	o        Options
	name     string
	members  []member
	client   *http.Transport
	server   *http.Server
	stopping chan struct{}
	listener net.Listener // nil until Listen
}

// ErrGone means that the copy is not there any more and that it was given nothing: it was stopped or started anew, or
// cannot be reached.
var ErrGone = errors.New("the copy is gone")

// What one connection may take before a request is complete.
const (
	dialTime   = 2 * time.Second
	headTime   = 5 * time.Second
	idleTime   = 90 * time.Second
	stopGrace  = 15 * time.Second
	maxHeaders = 8 << 10
)

// New makes the copy's identity. Listen takes the address, Run serves.
func New(o Options) (*Copies, error) {
	switch {
	case o.Keys == nil || o.Origin == "" || o.Serve == nil:
		return nil, errors.New("copies: keys, origin and handler are required")
	case o.Listen == "" || o.Address == "":
		return nil, errors.New("copies: no address given")
	case strings.ContainsAny(o.Address, "@/ "):
		return nil, fmt.Errorf("copies: %q is not host and port", o.Address)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	members, err := membersOf(o.Keys, o.Origin)
	if err != nil {
		return nil, err
	}
	c := &Copies{o: o, name: rand.Text(), members: members, stopping: make(chan struct{})}
	c.client = &http.Transport{
		DialTLSContext: c.dial, MaxIdleConnsPerHost: 64, IdleConnTimeout: idleTime, DisableCompression: true,
		MaxResponseHeaderBytes: 64 << 10,
	}
	c.server = c.newServer()
	return c, nil
}

// Self names this copy for sealed values: a name that it has from start to stop, and its address.
func (c *Copies) Self() string { return c.name + "@" + c.o.Address }

// HandOn sends a request to the copy that owns what it is about and returns that copy's answer, whose body the caller
// closes. ErrGone means that nothing was sent, or that the owner's successor answered; after any other error the request
// may have been executed. The end of ctx reaches the owner as a client that left.
func (c *Copies) HandOn(ctx context.Context, q *Request) (*http.Response, error) {
	_, address, ok := strings.Cut(q.Owner, "@")
	if !ok || address == "" {
		return nil, fmt.Errorf("%w: it has no address", ErrGone)
	}
	body, err := q.encode()
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+address+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGone, err)
	}
	r.GetBody = nil // so that nothing is ever sent twice
	resp, err := c.client.RoundTrip(r)
	if err != nil {
		return nil, fmt.Errorf("hand on to %s: %w", address, err)
	}
	if resp.Header.Get(headerOwner) != q.Owner {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("%w: another one answers at %s (HTTP status %d)", ErrGone, address, resp.StatusCode)
	}
	return resp, nil
}

// Reach reports whether a copy of this Gatehouse, with the same keys and origin, answers at an address.
func Reach(ctx context.Context, keys *seal.Keyring, origin, address string) error {
	members, err := membersOf(keys, origin)
	if err != nil {
		return err
	}
	conn, err := (&Copies{members: members}).dial(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// dial meets another copy under the newest key that both have.
func (c *Copies) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	var failed error
	for i := range c.members {
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, address)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrGone, err)
		}
		secure := tls.Client(conn, c.members[i].config())
		if failed = secure.HandshakeContext(ctx); failed == nil {
			return secure, nil
		}
		_ = conn.Close()
	}
	return nil, fmt.Errorf("%w: %w", ErrGone, failed)
}
