package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"

	"gatehouse/internal/web"
)

// path is the only one that the internal address serves.
const path = "/handed-on"

// What another copy may hand on. It has bounded the client's body by its own settings before.
const (
	maxBody  = 1<<30 + maxEnvelope + 4
	bodyTime = time.Minute
)

// headerOwner stands in each answer of a copy that was meant, and says which.
const headerOwner = "Gatehouse-Owner"

func (c *Copies) newServer() *http.Server {
	return &http.Server{
		Handler:           web.LimitBody(maxBody, bodyTime)(web.HandlerFunc(c.take)),
		ReadHeaderTimeout: headTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeaders,
		ErrorLog:    slog.NewLogLogger(c.o.Log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return web.WithStopping(context.Background(), c.stopping) },
	}
}

// Listen takes the address, so that a failure shows before anything else starts.
func (c *Copies) Listen(ctx context.Context) error {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", c.o.Listen)
	if err != nil {
		return fmt.Errorf("listen for other copies on %s: %w", c.o.Listen, err)
	}
	c.listener = l
	return nil
}

// Close gives the address back when Run was never called. After Run it does nothing.
func (c *Copies) Close() error {
	if c.listener == nil {
		return nil
	}
	if err := c.listener.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Run answers other copies until ctx is done. Then streams are told to end, and requests under way finish within a grace.
func (c *Copies) Run(ctx context.Context) error {
	defer c.client.CloseIdleConnections()
	served := make(chan error, 1)
	go func() { served <- c.server.Serve(tls.NewListener(c.listener, serverConfig(c.members))) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve other copies on %s: %w", c.o.Listen, err)
	case <-ctx.Done():
	}
	close(c.stopping)
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
	defer cancel()
	err := c.server.Shutdown(grace)
	if errors.Is(err, context.DeadlineExceeded) {
		c.o.Log.Warn("requests of other copies were cut because they outlasted the grace", "grace", stopGrace)
		err = c.server.Close()
	}
	if ended := <-served; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

// take answers one request that another copy handed on.
func (c *Copies) take(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost || r.URL.Path != path {
		return &web.Error{Status: http.StatusNotFound, Code: "not_found", Message: "copies of Gatehouse talk to each other here"}
	}
	e, err := readEnvelope(r.Body)
	if err != nil {
		return &web.Error{Status: http.StatusBadRequest, Code: "bad_envelope", Message: "the request has no proper envelope", Cause: err}
	}
	if e.Owner != c.Self() {
		return &web.Error{Status: http.StatusGone, Code: "gone", Message: "this copy is not the one that is meant"}
	}
	// The whole body first: an answer that overtakes its request can be cut off on the way. The other copy bounded it.
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return fmt.Errorf("read the request that was handed on: %w", err)
	}
	w.Header().Set(headerOwner, c.Self())
	own := web.HandedOn(r, e.ID, e.Client)
	own = (&http.Request{
		Method: e.Method, URL: &url.URL{Path: e.Endpoint, RawQuery: e.Query}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: e.Header, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), RemoteAddr: r.RemoteAddr, Pattern: e.Endpoint,
	}).WithContext(own.Context())
	serve := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { c.o.Serve(w, r, e.Principal, e.Endpoint) })
	web.Chain(serve, web.Record(c.o.Log, time.Now, nil), web.Recover(c.o.Log)).ServeHTTP(w, own)
	return nil
}
