//go:build unix

package target

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/internal/mcp"
	"gatehouse/internal/secret"
)

func command(play string) Options { return Options{Command: commandOptions(play)} }

func callTool(t *testing.T, c *Conn, name string) (string, error) {
	t.Helper()
	result, err := c.Call(t.Context(), mcp.MethodToolsCall, toolParams(name, ""), nil)
	if err != nil {
		return "", err
	}
	return textOf(t, result), nil
}

func mustTool(t *testing.T, c *Conn, name string) string {
	t.Helper()
	text, err := callTool(t, c, name)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return text
}

// awaitEnd waits until a process is no more.
func awaitEnd(t *testing.T, pid string) {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if syscall.Kill(n, 0) != nil || zombie(n) {
			return
		}
		if sleep(t.Context(), 10*time.Millisecond) != nil {
			break
		}
	}
	t.Errorf("process %d still runs", n)
}

// zombie reports whether a process has ended and only waits to be collected by whoever adopted it.
func zombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return runtime.GOOS == "linux"
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(after, "Z")
}

func TestWhoSharesAProcess(t *testing.T) {
	t.Parallel()
	tg := started(t, command("raw"))
	ada := Caller{Principal: person("ada")}
	one := mustTool(t, connected(t, tg, ada, nil), "pid")
	if two := mustTool(t, connected(t, tg, ada, nil), "pid"); two != one {
		t.Error("two sessions of one person have two processes")
	}
	if bob := mustTool(t, connected(t, tg, Caller{Principal: person("bob")}, nil), "pid"); bob == one {
		t.Error("two persons share a process")
	}
	other := Caller{Principal: person("ada")}
	other.Principal.Key.Issuer = "https://other.example"
	if pid := mustTool(t, connected(t, tg, other, nil), "pid"); pid == one {
		t.Error("one subject of two issuers shares a process")
	}
	able := Caller{Principal: person("ada"), Capabilities: []byte(`{"roots":{}}`)}
	if pid := mustTool(t, connected(t, tg, able, nil), "pid"); pid == one {
		t.Error("clients of different capabilities share a process")
	}
	if own := mustTool(t, connected(t, tg, Caller{}, nil), "pid"); own == one {
		t.Error("a person has the target's own process")
	}
}

// A client may say what it likes about itself, so the number of its person's processes must not follow.
func TestProcessesOfAPersonAreBounded(t *testing.T) {
	t.Parallel()
	tg := started(t, command("raw"))
	of := func(name string, kind int) Caller {
		return Caller{Principal: person(name), Capabilities: fmt.Appendf(nil, `{"sampling":{"kind":%d}}`, kind)}
	}
	first := mustTool(t, connected(t, tg, of("ada", 0), nil), "pid")
	for kind := 1; kind < maxSlotsPerPerson; kind++ {
		conn, err := tg.Connect(t.Context(), of("ada", kind), nil)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	evicted := connected(t, tg, of("ada", 100), nil)
	mustTool(t, evicted, "pid")
	if again := mustTool(t, connected(t, tg, of("ada", 0), nil), "pid"); again != first {
		t.Error("a process in use made way")
	}
	for kind := 101; kind < 99+maxSlotsPerPerson; kind++ {
		connected(t, tg, of("ada", kind), nil)
	}
	if _, err := tg.Connect(t.Context(), of("ada", 200), nil); err == nil {
		t.Errorf("one person has more than %d processes", maxSlotsPerPerson)
	}
	connected(t, tg, of("bob", 0), nil)
	if n := len(tg.dial.(*commandDialer).slots); n > maxSlotsPerPerson+2 {
		t.Errorf("%d processes", n)
	}
}

func TestWhatAProcessInherits(t *testing.T) {
	t.Parallel()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	secretFile, err := os.Create(filepath.Join(dir, "signing-key"))
	if err != nil {
		t.Fatal(err)
	}
	defer secretFile.Close()
	o := command("raw")
	o.Command.Dir = dir
	o.Command.Env["LISTED"] = secret.New("yes")
	conn := connected(t, started(t, o), Caller{Principal: person("ada")}, nil)
	var names []string
	for line := range strings.SplitSeq(mustTool(t, conn, "env"), "\n") {
		name, _, _ := strings.Cut(line, "=")
		names = append(names, name)
	}
	slices.Sort(names)
	if got := strings.Join(names, " "); got != commandEnv+" HOME LISTED PATH TMPDIR" {
		t.Errorf("environment: %s", got)
	}
	if got := mustTool(t, conn, "dir"); got != dir {
		t.Errorf("directory: %s", got)
	}
	for line := range strings.SplitSeq(mustTool(t, conn, "fds"), "\n") {
		if strings.Contains(line, "signing-key") || strings.Contains(line, "socket:") {
			t.Errorf("descriptor %s", line)
		}
	}
}

func TestLinesOnStdioAreMessages(t *testing.T) {
	t.Parallel()
	log := newLogBuffer()
	o := command("raw")
	o.Log, o.MaxMessage = logTo(log), 1<<20
	conn := connected(t, started(t, o), Caller{Principal: person("ada")}, nil)
	if got := mustTool(t, conn, "rubbish"); got != "still here" {
		t.Errorf("after rubbish: %s", got)
	}
	result, err := conn.Call(t.Context(), mcp.MethodToolsCall, []byte("{\n\"name\":\"args\",\r\n\t\"arguments\":{\"a\":\n1.0}}"), nil)
	if err != nil || textOf(t, result) != `{"a": 1.0}` {
		t.Errorf("params on several lines: %s %v", result, err)
	}
	_, err = callTool(t, conn, "huge")
	wants(t, err, TooLarge)
	if got := mustTool(t, conn, "stderr"); got != "ok" {
		t.Errorf("after a huge line: %s", got)
	}
	for _, name := range []string{"keys twice", "not UTF-8"} {
		_, err = callTool(t, conn, name)
		wants(t, err, Rubbish)
	}
	if _, err := callTool(t, conn, "error without id"); err == nil || !strings.Contains(err.Error(), "what?") {
		t.Errorf("an error without id: %v", err)
	}
	log.await(t, "a note for people")
	log.await(t, "long long")
	for line := range strings.SplitSeq(log.String(), "\n") {
		if len(line) > 1500 {
			t.Errorf("a log line of %d bytes", len(line))
		}
	}
}

// TestTheCatalogComesBackByItself kills the process that the catalogue is read through.
func TestTheCatalogComesBackByItself(t *testing.T) {
	t.Parallel()
	log := newLogBuffer()
	o := command("raw")
	o.Log = logTo(log)
	tg := started(t, o)
	if _, err := tg.Catalog(t.Context()); err != nil {
		t.Fatal(err)
	}
	own := connected(t, tg, Caller{}, nil)
	pid := mustTool(t, own, "pid")
	if _, err := callTool(t, own, "die"); err == nil {
		t.Error("it lives")
	}
	log.await(t, "target process ended")
	if again := mustTool(t, own, "pid"); again == pid {
		t.Error("the same process")
	}
	if c, err := tg.Catalog(t.Context()); err != nil || len(c.Tools) != 1 {
		t.Errorf("%+v %v", c, err)
	}
}

func TestAProcessThatDiesMidCall(t *testing.T) {
	t.Parallel()
	tg := started(t, command("raw"))
	conn := connected(t, tg, Caller{Principal: person("ada")}, nil)
	pid := mustTool(t, conn, "pid")
	hanging := make(chan error, 1)
	begun := make(chan struct{})
	go func() {
		close(begun)
		_, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("hang", ""), nil)
		hanging <- err
	}()
	<-begun
	before := time.Now()
	_, err := callTool(t, conn, "die")
	wants(t, err, Down)
	if d := time.Since(before); d > tg.opt.Timeout/2 {
		t.Errorf("the call failed after %s", d)
	}
	if again := mustTool(t, conn, "pid"); again == pid {
		t.Error("the same process")
	}
	// The other call was on its way to the first process, or to the second if it came late; then closing ends it.
	conn.Close()
	wants(t, receive(t, hanging, "the other call"), Down)
}

// A process that can answer nothing more makes way for another one.
func TestAProcessThatHangsIsReplaced(t *testing.T) {
	t.Parallel()
	for _, play := range []string{"freeze", "mute"} {
		t.Run(play, func(t *testing.T) {
			t.Parallel()
			o := command("raw")
			o.Timeout = 2 * time.Second
			log := newLogBuffer()
			o.Log = logTo(log)
			conn := connected(t, started(t, o), Caller{Principal: person("ada")}, nil)
			pid := mustTool(t, conn, "pid")
			if _, err := callTool(t, conn, play); err == nil {
				t.Fatal("an answer")
			}
			awaitEnd(t, pid)
			if play == "freeze" {
				log.await(t, "it answers no call, and no ping")
			}
			log.await(t, "target process ended")
			if again := mustTool(t, conn, "pid"); again == pid {
				t.Error("the same process")
			}
		})
	}
}

// A process that is slow with one call keeps its other work, also when it does one thing after the other, so that a ping
// waits as long as the rest.
func TestAProcessThatIsOnlySlowIsKept(t *testing.T) {
	t.Parallel()
	for _, play := range []string{"raw", "backlog"} {
		t.Run(play, func(t *testing.T) {
			t.Parallel()
			o := command(play)
			o.Timeout = time.Second
			conn := connected(t, started(t, o), Caller{Principal: person("ada")}, newRecorder())
			pid := mustTool(t, conn, "pid")
			for range 4 {
				_, err := callTool(t, conn, "hang")
				wants(t, err, Timeout)
			}
			if again := mustTool(t, conn, "pid"); again != pid {
				t.Error("another process")
			}
		})
	}
}

func TestChildrenOfAProcessEndWithIt(t *testing.T) {
	t.Parallel()
	o := command("raw")
	o.Command.IdleTimeout = time.Millisecond
	tg := started(t, o)
	conn, err := tg.Connect(t.Context(), Caller{Principal: person("ada")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	pid, child := mustTool(t, conn, "pid"), mustTool(t, conn, "child")
	conn.Close()
	awaitEnd(t, pid)
	awaitEnd(t, child)
}

func TestAStubbornProcessIsKilled(t *testing.T) {
	t.Parallel()
	tg, err := New(Options{Name: "up", Command: commandOptions("stubborn")})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tg.Connect(t.Context(), Caller{Principal: person("ada")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	pid := mustTool(t, conn, "pid")
	tg.close()
	awaitEnd(t, pid)
	_, err = callTool(t, conn, "pid")
	wants(t, err, Down)
	conn.Close()
	_, err = tg.Connect(t.Context(), Caller{Principal: person("ada")}, nil)
	wants(t, err, Down)
}

func TestCommandsThatCannotStart(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		o    Options
		hint string
	}{
		"no such command": {Options{Command: &CommandOptions{Args: []string{"no-such-command-anywhere"}}}, "PATH"},
		"no such dir":     {Options{Command: &CommandOptions{Args: []string{os.Args[0]}, Dir: "/no/such/dir"}}, "no such"},
		"dies at once":    {command("dies-at-once"), "exit status 3; it last wrote \"cannot find my database\""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tg := started(t, tc.o)
			_, err := tg.Connect(t.Context(), Caller{Principal: person("ada")}, nil)
			wants(t, err, Down)
			if err != nil && !strings.Contains(err.Error(), tc.hint) {
				t.Errorf("no hint %q in %v", tc.hint, err)
			}
			_, err = tg.Connect(t.Context(), Caller{Principal: person("ada")}, nil) // the second try is free
			wants(t, err, Down)
			_, err = tg.Connect(t.Context(), Caller{Principal: person("ada")}, nil)
			wants(t, err, Down)
			if err != nil && !strings.Contains(err.Error(), "next start") && !strings.Contains(err.Error(), "is not available, since") {
				t.Errorf("no back-off: %v", err)
			}
		})
	}
}

func TestBackOffGrows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s slot
		var waits []string
		for range 9 {
			s.failed()
			waits = append(waits, max(0, time.Until(s.notBefore)).String())
		}
		if got := strings.Join(waits, " "); got != "0s 1s 2s 4s 8s 16s 32s 1m0s 1m0s" {
			t.Error(got)
		}
	})
}

func TestServerRequestsOverStdioGoToTheCaller(t *testing.T) {
	t.Parallel()
	tg := started(t, sdkOverStdio(t))
	answer := func(who string) *recorder {
		r := newRecorder()
		r.answer = func(ctx context.Context, _ *mcp.Message) ([]byte, *mcp.Error) {
			name, _ := json.Marshal(fmt.Sprint(who, " ", ctx.Value(ctxKey{})))
			return []byte(`{"action":"accept","content":{"name":` + string(name) + `}}`), nil
		}
		return r
	}
	caller := Caller{Principal: person("ada"), Capabilities: []byte(`{"elicitation":{}}`)}
	one, two := connected(t, tg, caller, answer("one")), connected(t, tg, caller, answer("two"))
	for i, conn := range []*Conn{one, two, one} {
		ctx := context.WithValue(t.Context(), ctxKey{}, i)
		result, err := conn.Call(ctx, mcp.MethodToolsCall, toolParams("ask", ""), nil)
		want := fmt.Sprint("accept ", []string{"one", "two"}[i%2], " ", i)
		if err != nil || textOf(t, result) != want {
			t.Errorf("call %d: %s %v", i, result, err)
		}
	}
}

func TestOneStartServesAllWhoWait(t *testing.T) {
	t.Parallel()
	tg := started(t, command("raw"))
	pids := make(chan string, 10)
	for range 10 {
		go func() {
			conn, err := tg.Connect(t.Context(), Caller{Principal: person("ada")}, nil)
			if err != nil {
				pids <- err.Error()
				return
			}
			defer conn.Close()
			pids <- mustTool(t, conn, "pid")
		}()
	}
	first := receive(t, pids, "a pid")
	for range 9 {
		if pid := receive(t, pids, "a pid"); pid != first {
			t.Errorf("%s and %s", first, pid)
		}
	}
}

func kill(t *testing.T, pid string) {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err == nil {
		err = syscall.Kill(n, syscall.SIGKILL)
	}
	if err != nil {
		t.Fatal(err)
	}
}
