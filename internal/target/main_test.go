package target

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gatehouse/internal/identity"
	"gatehouse/internal/mcp"
	"gatehouse/internal/sandbox"
	"gatehouse/internal/secret"
)

// commandEnv makes the test binary play a command over stdio instead of running tests.
const commandEnv = "GATEHOUSE_TEST_COMMAND"

func TestMain(m *testing.M) {
	sandbox.RunIfAsked()
	switch play := os.Getenv(commandEnv); play {
	case "":
		goleak.VerifyTestMain(m)
	case "sdk":
		_ = sdkServer().Run(context.Background(), sdkStdio())
	default:
		playRaw(play)
	}
}

// playRaw is a hand-written server over stdio; what it does besides the handshake is named by play.
func playRaw(play string) {
	if play == "dies-at-once" {
		fmt.Fprintln(os.Stderr, "cannot find my database")
		os.Exit(3)
	}
	in := bufio.NewReader(os.Stdin)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			if play == "stubborn" {
				select {}
			}
			return
		}
		m, err := mcp.Decode(bytes.TrimSpace(line), mcp.Limits{})
		if err != nil {
			fmt.Fprintln(os.Stderr, "bad line", err)
			continue
		}
		if m.Kind == mcp.KindResponse {
			fmt.Fprintf(os.Stderr, "response %s %s%s\n", m.ID, m.Result, m.Error)
			continue
		}
		if play == "modern" {
			rawModern(&m)
			continue
		}
		switch m.Method {
		case mcp.MethodInitialize:
			say(mcp.AppendResult(nil, m.ID, []byte(`{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"raw","version":"1"}}`)))
		case mcp.MethodToolsList:
			say(mcp.AppendResult(nil, m.ID, []byte(`{"tools":[{"name":"x","inputSchema":{}}]}`)))
		case mcp.MethodSubscribe, mcp.MethodUnsubscribe:
			fmt.Fprintln(os.Stderr, m.Method, m.Name)
			say(mcp.AppendResult(nil, m.ID, nil))
		case mcp.MethodToolsCall:
			rawTool(&m)
		case mcp.MethodDiscover:
			rawDiscover(play, &m)
		case mcp.MethodPing:
			if play == "backlog" { // it has much to do before it comes to that
				say(mcp.AppendNotification(nil, mcp.NoteMessage, []byte(`{"level":"info","data":"busy"}`)))
				continue
			}
			say(mcp.AppendResult(nil, m.ID, nil))
		default:
			if m.Kind == mcp.KindRequest {
				say(mcp.AppendError(nil, m.ID, mcp.Errorf(mcp.CodeMethodNotFound, "Method not found")))
			}
		}
	}
}

// rawDiscover is what servers of the session era do when they are asked for the stateless one.
func rawDiscover(play string, m *mcp.Message) {
	switch play {
	case "deaf": // it takes nothing before initialize
		fmt.Fprintln(os.Stderr, "expected initialize")
	case "touchy":
		fmt.Fprintln(os.Stderr, "expected initialize")
		os.Exit(1)
	default:
		say(mcp.AppendError(nil, m.ID, mcp.Errorf(mcp.CodeMethodNotFound, "Method not found")))
	}
}

func rawTool(m *mcp.Message) {
	text := func(s string) []byte {
		return append(append([]byte(`{"content":[{"type":"text","text":`), mcp.AppendString(nil, s)...), `}]}`...)
	}
	switch m.Name {
	case "pid":
		say(mcp.AppendResult(nil, m.ID, text(fmt.Sprint(os.Getpid()))))
	case "env":
		say(mcp.AppendResult(nil, m.ID, text(strings.Join(os.Environ(), "\n"))))
	case "dir":
		dir, _ := os.Getwd()
		say(mcp.AppendResult(nil, m.ID, text(dir)))
	case "fds":
		entries, _ := os.ReadDir("/proc/self/fd")
		var names []string
		for _, e := range entries {
			to, _ := os.Readlink("/proc/self/fd/" + e.Name())
			names = append(names, e.Name()+" "+to)
		}
		say(mcp.AppendResult(nil, m.ID, text(strings.Join(names, "\n"))))
	case "die":
		os.Exit(7)
	case "hang":
	case "freeze": // nothing else is answered any more
		time.Sleep(time.Hour) // the runtime would end a program that does nothing but select {}
	case "mute":
		_ = os.Stdout.Close()
	case "rubbish":
		fmt.Println("Welcome to my server!")
		fmt.Println(`{"jsonrpc":"2.0","id":99999,"result":{}}`)
		fmt.Println(`{"jsonrpc":"2.0","id":1,"id":2,"result":{}}`)
		say(mcp.AppendResult(nil, m.ID, text("still here")))
		say(mcp.AppendResult(nil, m.ID, text("said twice")))
	case "keys twice":
		fmt.Printf(`{"jsonrpc":"2.0","id":%s,"result":{"isError":true,"isError":false}}`+"\n", m.ID)
	case "not UTF-8":
		fmt.Printf(`{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":"caf`+"\xe9"+`"}]}}`+"\n", m.ID)
	case "error without id":
		fmt.Println(`{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"what?"}}`)
	case "huge":
		say(mcp.AppendResult(nil, m.ID, text(strings.Repeat("x", 3<<20))))
	case "args":
		args, _ := mcp.Lookup(m.Params, "arguments")
		say(mcp.AppendResult(nil, m.ID, text(string(args))))
	case "jumble": // answers out of order, progress first
		args, _ := mcp.Lookup(m.Params, "arguments")
		said := mcp.AppendResult(nil, m.ID, text(string(args)))
		progress := mcp.AppendNotification(nil, mcp.NoteProgress, fmt.Appendf(nil, `{"progressToken":%s,"progress":1,"message":%q}`, m.ProgressToken, args))
		go func() {
			time.Sleep(rand.N(3 * time.Millisecond))
			say(progress)
			say(said)
		}()
	case "read":
		args, _ := mcp.Lookup(m.Params, "arguments")
		path, _ := mcp.LookupString(args, "path")
		content, err := os.ReadFile(path)
		say(mcp.AppendResult(nil, m.ID, text(fmt.Sprint(string(content), err))))
	case "update": // tells whoever subscribed, and everybody that it did
		say(mcp.AppendNotification(nil, mcp.NoteResourceUpdated, []byte(`{"uri":"note://ada"}`)))
		say(mcp.AppendNotification(nil, mcp.NoteMessage, []byte(`{"level":"info","data":"of ada"}`)))
		say([]byte(`{"jsonrpc":"2.0","id":"q1","method":"elicitation/create","params":{"message":"ada?"}}`))
		say(mcp.AppendResult(nil, m.ID, text("ok")))
	case "child":
		// A grandchild that keeps the pipes open and would outlive us.
		c := exec.Command("sleep", "600")
		c.Stdout, c.Stderr = os.Stdout, os.Stderr
		if err := c.Start(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		say(mcp.AppendResult(nil, m.ID, text(fmt.Sprint(c.Process.Pid))))
	case "stderr":
		fmt.Fprintln(os.Stderr, "a note for people")
		fmt.Fprintln(os.Stderr, strings.Repeat("long ", 1000))
		say(mcp.AppendResult(nil, m.ID, text("ok")))
	}
}

func say(line []byte) { fmt.Println(string(line)) }

// logBuffer is a log that can be read, and waited for, while it is written.
type logBuffer struct {
	mu      sync.Mutex // guards what follows
	b       bytes.Buffer
	written chan struct{} // closed and replaced by each write
}

func newLogBuffer() *logBuffer { return &logBuffer{written: make(chan struct{})} }

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.written)
	l.written = make(chan struct{})
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// await waits until the log holds a text.
func (l *logBuffer) await(t *testing.T, text string) {
	t.Helper()
	for {
		l.mu.Lock()
		found, written := bytes.Contains(l.b.Bytes(), []byte(text)), l.written
		l.mu.Unlock()
		if found {
			return
		}
		receive(t, written, "the log to hold "+text)
	}
}

// started builds a target, runs it, and stops it with the test.
func started(t *testing.T, o Options) *Target {
	t.Helper()
	if o.Name == "" {
		o.Name = "up"
	}
	o.CatalogWait = cmp.Or(o.CatalogWait, time.Minute) // slow machines too read it sooner
	tg, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tg.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return tg
}

// connected opens a connection and closes it with the test.
func connected(t *testing.T, tg *Target, c Caller, e Events) *Conn {
	t.Helper()
	conn, err := tg.Connect(t.Context(), c, e)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

func person(subject string) *identity.Principal {
	return &identity.Principal{Key: identity.PersonKey{Issuer: "https://issuer.example", Subject: subject}, Client: "client-1", Scopes: identity.Scopes{"mcp:tools"}, Claims: identity.Claims{"groups": []any{"eng"}}}
}

// recorder is a client session that writes down what the upstream sends, and answers with a fixed result.
type recorder struct {
	notes  chan string // method and params
	asked  chan string
	answer func(ctx context.Context, m *mcp.Message) ([]byte, *mcp.Error)
}

func newRecorder() *recorder {
	return &recorder{notes: make(chan string, 1000), asked: make(chan string, 100)}
}

func (r *recorder) Notify(m *mcp.Message) { r.notes <- m.Method + " " + string(m.Params) }

// Refused implements Events: tests look at what the target was answered.
func (r *recorder) Refused(context.Context, *mcp.Message) {}

func (r *recorder) Request(ctx context.Context, m *mcp.Message) ([]byte, *mcp.Error) {
	r.asked <- m.Method + " " + string(m.Params)
	return r.answer(ctx, m)
}

// receive waits for a value, long enough for a slow machine.
func receive[T any](t *testing.T, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(time.Minute):
		t.Fatalf("timed out: %s", what)
		panic("unreachable")
	}
}

func toolParams(name, rest string) []byte {
	return []byte(`{"name":` + string(mcp.AppendString(nil, name)) + rest + `}`)
}

// textOf returns the first text of a tool result.
func textOf(t *testing.T, result []byte) string {
	t.Helper()
	content, _ := mcp.Lookup(result, "content")
	item := bytes.TrimSuffix(bytes.TrimPrefix(content, []byte("[")), []byte("]"))
	text, ok := mcp.LookupString(item, "text")
	if !ok {
		t.Fatalf("no text in %s", result)
	}
	return text
}

func logTo(l *logBuffer) *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func headers(name, value string) map[string]secret.Text {
	return map[string]secret.Text{name: secret.New(value)}
}

func anyOf(t *testing.T, raw []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	return v
}
