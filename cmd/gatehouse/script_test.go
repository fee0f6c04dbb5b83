package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"gatehouse/internal/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.RunIfAsked()
	if os.Getenv(asGatehouse) != "" {
		main()
		return
	}
	testscript.Main(m, map[string]func(){"gatehouse": main})
}

// asGatehouse makes the test binary the program itself, so that a test can kill it.
const asGatehouse = "GATEHOUSE_TEST_AS_PROGRAM"

// Each script in testdata/script is one story at the command line.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			port, err := freePort()
			if err != nil {
				return err
			}
			env.Setenv("PORT", fmt.Sprint(port))
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("GATEHOUSE_MASTER_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"await":   await,
			"replace": replace,
			"occupy":  occupy,
		},
	})
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// await URL STATUS waits until the URL answers with the status.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: await URL STATUS")
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		resp, err := http.Get(args[0])
		last := fmt.Sprint(err)
		if err == nil {
			resp.Body.Close()
			if last = fmt.Sprint(resp.StatusCode); last == args[1] {
				return
			}
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s answers %s, want %s", args[0], last, args[1])
		}
		time.Sleep(50 * time.Millisecond) // another process: there is no event to wait for
	}
}

// replace OLD NEW FILE edits a file.
func replace(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: replace OLD NEW FILE")
	}
	text := ts.ReadFile(args[2])
	if !strings.Contains(text, args[0]) {
		ts.Fatalf("%s does not contain %q", args[2], args[0])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(strings.ReplaceAll(text, args[0], args[1])), 0o600))
}

// occupy takes the port that the script would use, until it ends.
func occupy(ts *testscript.TestScript, neg bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:"+ts.Getenv("PORT"))
	ts.Check(err)
	ts.Defer(func() { l.Close() })
}

// The program itself: it prints what a newcomer needs, serves, and ends well when it is told to.
func TestQuickstartProcess(t *testing.T) {
	t.Parallel()
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out, errs syncBuffer
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"--listen", fmt.Sprintf("127.0.0.1:%d", port), "--state-dir", t.TempDir()}, streams{strings.NewReader(""), &out, &errs})
	}()
	url := fmt.Sprintf("http://localhost:%d", port)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if resp, err := http.Get(url + "/readyz"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				break
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("not ready after 20 s:\n%s%s", out.String(), errs.String())
		}
	}
	for _, want := range []string{url + "/mcp", "username", "password", "mcpServers", "curl -i"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the quickstart does not print %q:\n%s", want, out.String())
		}
	}
	cancel()
	select {
	case code := <-ended:
		if code != 0 {
			t.Errorf("exit code %d after being told to stop:\n%s", code, errs.String())
		}
	case <-time.After(20 * time.Second):
		t.Fatal("does not stop within 20 s")
	}
}

// A command that waits for somebody to type ends with Ctrl-C.
func TestWaitingForInputEnds(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"explain"}, {"user", "add", "bob", "--password-stdin"}} {
		in, typist := io.Pipe()
		defer typist.Close()
		ctx, cancel := context.WithCancel(t.Context())
		var out, errs syncBuffer
		ended := make(chan int, 1)
		go func() { ended <- run(ctx, append(args, "--state-dir", t.TempDir()), streams{in, &out, &errs}) }()
		cancel()
		select {
		case code := <-ended:
			if code != 1 {
				t.Errorf("%s: exit code %d:\n%s", args, code, errs.String())
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: does not stop within 20 s", args)
		}
	}
}

// syncBuffer is a buffer that one goroutine writes and another reads.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
