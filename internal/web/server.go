package web

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"gatehouse/internal/httpd"
)

// ServerOptions describe a server.
type ServerOptions struct {
	Listen  string // host:port
	TLS     *TLSFiles
	Handler http.Handler
	Log     *slog.Logger
	Linger  time.Duration // how long answers say "Connection: close" before the stop goes on; 0 means 500 ms
	Grace   time.Duration // how long requests under way may take when stopping; 0 means 15 s
	Late    func()        // called when little of Grace is left, for those that can still be answered; may be nil
}

// What a connection may cost before a request is complete. Bodies have their own limits: see LimitBody.
const (
	readHeaderTimeout = 5 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 32 << 10
)

// Server is an HTTP server that stops without losing requests.
type Server struct {
	options  ServerOptions
	httpd    *httpd.Server
	http2    *http.Server  // nil without TLS
	handed   *handedOver   // connections on their way from httpd to http2
	certs    *certificates // nil without TLS
	listener net.Listener  // nil until Listen
	stopping chan struct{}
}

type stoppingKey struct{}

// NewServer reads the TLS files, if any; Listen takes the address and Run serves.
func NewServer(o ServerOptions) (*Server, error) {
	if o.Linger == 0 {
		o.Linger = 500 * time.Millisecond
	}
	if o.Grace == 0 {
		o.Grace = 15 * time.Second
	}
	s := &Server{options: o, stopping: make(chan struct{})}
	base := s.base()
	h := httpd.Options{
		Handler: s.closeWhenStopping(o.Handler), Log: o.Log, Context: base,
		HeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout, StallTimeout: stallTimeout, MaxHeader: maxHeaderBytes,
	}
	if o.TLS != nil {
		certs, err := loadCertificates(*o.TLS)
		if err != nil {
			return nil, err
		}
		s.certs = certs
		s.handed = &handedOver{conns: make(chan net.Conn), closed: make(chan struct{})}
		h.TLS = newTLSConfig(o.TLS.AskClients)
		h.TLS.GetConfigForClient = certs.forClient
		h.HTTP2 = s.handed.take
		s.http2 = &http.Server{
			Handler: h.Handler, ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
			ErrorLog:    slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
			BaseContext: func(net.Listener) context.Context { return base },
		}
	}
	var err error
	s.httpd, err = httpd.New(h)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// base is the context that all requests' contexts begin with.
func (s *Server) base() context.Context { return WithStopping(context.Background(), s.stopping) }

// WithStopping returns the context of a server that begins to stop when the channel is closed: see Stopping.
func WithStopping(ctx context.Context, stopping <-chan struct{}) context.Context {
	return context.WithValue(ctx, stoppingKey{}, stopping)
}

// Listen takes the address, so that a failure shows before anything else starts. Run or Close gives it back.
func (s *Server) Listen(ctx context.Context) error {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", s.options.Listen)
	if err != nil {
		return listenError(s.options.Listen, err)
	}
	s.listener = l
	if s.handed != nil {
		s.handed.addr = l.Addr()
	}
	return nil
}

// Addr returns the address that Listen took, with the real port.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Close gives the address back when Run was never called. After Run it does nothing.
func (s *Server) Close() error {
	if s.listener == nil {
		return nil
	}
	if err := s.listener.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// ReloadTLS reads the TLS files again; when they are faulty, the ones in use stay.
func (s *Server) ReloadTLS() error {
	if s.certs == nil {
		return nil
	}
	_, err := s.certs.reload()
	return err
}

// Stopping returns a channel that is closed when the server of ctx's request begins to stop. Streams watch it and end.
// It is nil, and blocks for ever, outside of a server.
func Stopping(ctx context.Context) <-chan struct{} {
	c, _ := ctx.Value(stoppingKey{}).(<-chan struct{})
	return c
}

// Run serves until ctx is done, then stops: the listener closes, streams are told to end, answers carry "Connection:
// close" for a moment so that clients leave by themselves, requests under way finish within the grace, and what is
// left then is cut. It returns nil after a stop, and an error when serving failed.
func (s *Server) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- s.serve() }()
	if s.certs != nil {
		watchCtx, cancel := context.WithCancel(ctx)
		watched := make(chan struct{})
		go func() { defer close(watched); s.certs.watch(watchCtx, s.options.Log) }()
		defer func() { cancel(); <-watched }()
	}
	s.tell("READY=1")
	select {
	case err := <-served:
		return fmt.Errorf("serve on %s: %w", s.options.Listen, err)
	case <-ctx.Done():
	}
	s.tell("STOPPING=1")
	close(s.stopping)
	if err := s.listener.Close(); err != nil {
		s.options.Log.Warn("listener did not close", "error", err)
	}
	if err := <-served; !errors.Is(err, net.ErrClosed) {
		s.options.Log.Warn("serving ended before the stop", "error", err)
	}
	time.Sleep(s.options.Linger)
	return s.shutdown()
}

func (s *Server) serve() error {
	if s.http2 == nil {
		return s.httpd.Serve(s.listener)
	}
	second := make(chan error, 1)
	go func() { second <- s.http2.Serve(s.handed) }()
	err := s.httpd.Serve(s.listener)
	_ = s.handed.Close()
	return errors.Join(err, notClosed(<-second))
}

func (s *Server) shutdown() error {
	ctx, cancel := context.WithTimeout(context.Background(), s.options.Grace)
	defer cancel()
	if s.options.Late != nil {
		late := time.AfterFunc(s.options.Grace*9/10, s.options.Late)
		defer late.Stop()
	}
	servers := []interface {
		Shutdown(context.Context) error
		Close() error
	}{s.httpd}
	if s.http2 != nil {
		servers = append(servers, s.http2)
	}
	var stopped error
	for _, server := range servers {
		err := server.Shutdown(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			s.options.Log.Warn("requests were cut because they outlasted the grace", "grace", s.options.Grace)
			err = server.Close()
		}
		if err != nil && !errors.Is(err, net.ErrClosed) {
			stopped = errors.Join(stopped, fmt.Errorf("stop server on %s: %w", s.options.Listen, err))
		}
	}
	return stopped
}

// notClosed leaves out what a server says whose listener was closed.
func notClosed(err error) error {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// handedOver is the listener of the HTTP/2 server: it accepts the connections whose clients chose HTTP/2.
type handedOver struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	addr   net.Addr
}

func (h *handedOver) take(c *tls.Conn) {
	select {
	case h.conns <- c:
	case <-h.closed:
		_ = c.Close()
	}
}

// Accept implements net.Listener.
func (h *handedOver) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *handedOver) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

// Addr implements net.Listener.
func (h *handedOver) Addr() net.Addr { return h.addr }

// tell informs systemd, when it asked to be.
func (s *Server) tell(state string) {
	if err := notifySystemd(state); err != nil {
		s.options.Log.Warn("systemd was not notified", "state", state, "error", err)
	}
}

func (s *Server) closeWhenStopping(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-s.stopping:
			w.Header().Set("Connection", "close")
		default:
		}
		next.ServeHTTP(w, r)
	})
}
