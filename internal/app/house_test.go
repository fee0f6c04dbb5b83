package app

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/config"
	"gatehouse/internal/secret"
	"gatehouse/internal/signin"
)

const alicePassword = "correct horse battery staple"

// patience is how long a test waits for something that must come. It is long because a loaded machine is slow.
const patience = 30 * time.Second

// house is a whole Gatehouse in this process, with a configuration file and a state directory that survive a restart.
type house struct {
	t         *testing.T
	dir       string
	file      string // the configuration
	url       string // public_url
	base      string // what every configuration of this house begins with
	log       *logText
	now       func() time.Time // nil: the time of day
	documents *http.Client     // fetches client ID metadata documents; nil for the real one

	clients []*http.Transport // forget their connections when Gatehouse stops: some may not have noticed its end

	app    *App
	hup    chan os.Signal
	cancel context.CancelFunc
	ended  chan error
}

// nextPort counts ports below those that the system gives to outgoing connections, so that no other test and no
// client takes a port while a house is being restarted.
var nextPort atomic.Int32

func freePort(t *testing.T) int {
	t.Helper()
	for range 1000 {
		port := 15000 + (os.Getpid()*41+int(nextPort.Add(1)))%17000
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no free port found")
	return 0
}

// prepareHouse writes the configuration, of which the test gives the part that matters to it, but starts nothing.
func prepareHouse(t *testing.T, settings string) *house {
	t.Helper()
	dir, port := t.TempDir(), freePort(t)
	h := &house{
		t: t, dir: dir, file: filepath.Join(dir, "gatehouse.yaml"), url: fmt.Sprintf("http://localhost:%d", port),
		base: fmt.Sprintf("listen: 127.0.0.1:%d\nstate_dir: state\nmaster_key: {file: master.key}\nlog: {level: debug}\n", port), log: newLogText(),
	}
	h.write("master.key", base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32)))
	h.configure(settings)
	t.Cleanup(func() {
		h.stop()
		if t.Failed() {
			t.Logf("log of gatehouse:\n%s", h.log.tail())
		}
	})
	return h
}

// openHouse starts Gatehouse with the user alice.
func openHouse(t *testing.T, settings string) *house {
	t.Helper()
	h := prepareHouse(t, settings)
	h.addUser("alice", "eng")
	h.start()
	return h
}

func (h *house) write(name, content string) {
	h.t.Helper()
	if err := os.WriteFile(filepath.Join(h.dir, name), []byte(content), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// configure replaces the configuration file in one step, as a careful editor does.
func (h *house) configure(settings string) {
	h.t.Helper()
	h.write("gatehouse.yaml.new", h.base+strings.ReplaceAll(settings, "$URL", h.url))
	if err := os.Rename(h.file+".new", h.file); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) config() *config.Config {
	h.t.Helper()
	c, err := config.Load(h.file)
	if err != nil {
		h.t.Fatalf("load configuration: %v", err)
	}
	return c
}

// tryStart builds Gatehouse and, when that works, lets it run.
func (h *house) tryStart() error {
	h.t.Helper()
	level := new(slog.LevelVar)
	level.Set(slog.LevelDebug)
	// Not the program's own logger: that one would hide a secret that some code logs by mistake.
	log := slog.New(slog.NewJSONHandler(h.log, &slog.HandlerOptions{Level: level}))
	ctx, cancel := context.WithCancel(context.Background())
	a, err := New(ctx, Options{Config: h.config(), File: h.file, Log: log, Level: level, Version: "test", Now: h.now, ClientDocuments: h.documents})
	if err != nil {
		cancel()
		return err
	}
	h.app, h.cancel, h.hup, h.ended = a, cancel, make(chan os.Signal), make(chan error, 1)
	go func() { h.ended <- a.Run(ctx, h.hup) }()
	return nil
}

func (h *house) start() {
	h.t.Helper()
	if err := h.tryStart(); err != nil {
		h.t.Fatalf("start gatehouse: %v", err)
	}
}

// stop ends Gatehouse as an operator does, and insists that nothing goes wrong on the way. It returns how long it took.
func (h *house) stop() time.Duration {
	h.t.Helper()
	if h.app == nil {
		return 0
	}
	began := time.Now()
	h.cancel()
	select {
	case err := <-h.ended:
		if err != nil {
			h.t.Errorf("gatehouse did not stop cleanly: %v", err)
		}
	case <-time.After(patience):
		h.t.Fatalf("gatehouse did not stop within %s", patience)
	}
	h.app = nil
	took := time.Since(began)
	for _, c := range h.clients {
		c.CloseIdleConnections()
	}
	return took
}

func (h *house) restart() {
	h.t.Helper()
	h.stop()
	h.start()
}

// reload changes the configuration and waits until Gatehouse has said what became of it.
func (h *house) reload(settings string) (taken bool) {
	h.t.Helper()
	h.configure(settings)
	return h.readAgain()
}

// readAgain has the file read. Gatehouse also looks by itself whether it has changed, and may be at it: it takes the signal
// after that, and the log is held meanwhile, so that what it says from there on is the answer.
func (h *house) readAgain() (taken bool) {
	h.t.Helper()
	from := 0
	eventually(h.t, patience, "gatehouse takes a SIGHUP", func() bool {
		h.log.mu.Lock()
		defer h.log.mu.Unlock()
		select {
		case h.hup <- os.Interrupt: // any signal will do
			from = h.log.buf.Len()
			return true
		default:
			return false
		}
	})
	line := h.log.await(h.t, from, `configuration reloaded`, `configuration not reloaded`)
	return strings.Contains(line, `configuration reloaded`)
}

// admin runs f as a command of an administrator does: on a database connection of its own, beside the server.
func (h *house) admin(f func(context.Context, *Admin) error) {
	h.t.Helper()
	ctx := h.t.Context()
	a, err := OpenAdmin(ctx, h.config(), slog.New(slog.DiscardHandler))
	if err == nil {
		err = errors.Join(f(ctx, a), a.Close())
	}
	if err != nil {
		h.t.Fatalf("administrator's command: %v", err)
	}
}

func (h *house) addUser(name string, groups ...string) {
	h.t.Helper()
	h.admin(func(ctx context.Context, a *Admin) error {
		_, err := a.AddUser(ctx, signin.UserSpec{
			Username: name, Name: strings.ToUpper(name), Email: name + "@example.com", Groups: groups, Password: secret.New(alicePassword),
		})
		return err
	})
}

// auditRecords returns everything that lies in the audit directory, once all that has been recorded does.
func (h *house) auditRecords() string {
	h.t.Helper()
	eventually(h.t, patience, "audit events on the disk", func() bool { return h.app == nil || h.app.audit.Waiting() == 0 })
	var all strings.Builder
	err := filepath.WalkDir(filepath.Join(h.dir, "state", "audit"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		all.Write(raw)
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return all.String()
}

// logText collects the log and lets tests wait for a line of it.
type logText struct {
	mu   sync.Mutex // guards what follows
	buf  bytes.Buffer
	grew chan struct{} // closed and replaced on each write
}

func newLogText() *logText { return &logText{grew: make(chan struct{})} }

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.grew)
	l.grew = make(chan struct{})
	return l.buf.Write(p)
}

func (l *logText) since(from int) (text string, grew <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.buf.Bytes()[from:]), l.grew
}

func (l *logText) String() string {
	text, _ := l.since(0)
	return text
}

func (l *logText) size() int { return len(l.String()) }

func (l *logText) tail() string {
	text := l.String()
	return text[max(0, len(text)-20_000):]
}

// await returns the first line after the position from that holds one of the texts.
func (l *logText) await(t *testing.T, from int, texts ...string) string {
	t.Helper()
	deadline := time.After(patience)
	for {
		text, grew := l.since(from)
		for line := range strings.Lines(text) {
			for _, want := range texts {
				if strings.Contains(line, want) {
					return line
				}
			}
		}
		select {
		case <-grew:
		case <-deadline:
			t.Fatalf("the log never says %q", texts)
		}
	}
}

// eventually waits for a state that no event announces, such as what another process sees.
func eventually(t *testing.T, within time.Duration, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %s still not: %s", within, what)
		}
	}
}
