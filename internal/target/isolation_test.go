//go:build unix

package target

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/mcp"
	"gatehouse/internal/sandbox"
	"gatehouse/internal/secret"
)

func TestProcessCannotReadTheKeys(t *testing.T) {
	t.Parallel()
	if sandbox.Landlock() == 0 {
		t.Skip("SKIPPED: this kernel has no Landlock")
	}
	key := filepath.Join(t.TempDir(), "master.key")
	if err := os.WriteFile(key, []byte("sesame"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := command("raw")
	o.Command.Hidden = []string{filepath.Dir(key)}
	conn := connected(t, started(t, o), Caller{Principal: person("ada")}, nil)
	result, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("read", `,"arguments":{"path":"`+key+`"}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := textOf(t, result); !strings.HasSuffix(got, "permission denied") || strings.Contains(got, "sesame") {
		t.Error(got)
	}
}

// What a process could read of Gatehouse's must be impossible, or else it does not start, and says so.
func TestNoProcessWithoutAWall(t *testing.T) {
	t.Parallel()
	o := command("raw")
	o.Command.Sandbox = sandbox.Required
	o.Command.RunAs = "no-such-user"
	_, err := started(t, o).Connect(t.Context(), Caller{Principal: person("ada")}, nil)
	wants(t, err, Down)
	if err == nil || !strings.Contains(err.Error(), `find the user "no-such-user"`) {
		t.Error(err)
	}
}

// A process that is shared hears nothing of anybody, and tells nobody what belongs to another.
func TestSharedProcess(t *testing.T) {
	t.Parallel()
	log := newLogBuffer()
	o := command("raw")
	o.Command.Shared, o.Log = true, logTo(log)
	tg := started(t, o)
	able := []byte(`{"elicitation":{},"sampling":{}}`)
	ada, bob := newRecorder(), newRecorder()
	adas := connected(t, tg, Caller{Principal: person("ada"), Capabilities: able, ClientInfo: []byte(`{"name":"adas-client","version":"1"}`)}, ada)
	bobs := connected(t, tg, Caller{Principal: person("bob")}, bob)
	if a, b := mustTool(t, adas, "pid"), mustTool(t, bobs, "pid"); a != b {
		t.Error("two processes")
	}
	if own := mustTool(t, connected(t, tg, Caller{}, nil), "pid"); own == mustTool(t, adas, "pid") {
		t.Error("the catalogue's process is the persons'")
	}
	for _, conn := range []*Conn{adas, bobs} {
		if _, err := conn.Call(t.Context(), mcp.MethodSubscribe, []byte(`{"uri":"note://ada"}`), nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := bobs.Call(t.Context(), mcp.MethodUnsubscribe, []byte(`{"uri":"note://ada"}`), nil); err != nil {
		t.Fatal(err)
	}
	mustTool(t, bobs, "update")
	if got := receive(t, ada.notes, "ada's note"); got != `notifications/resources/updated {"uri":"note://ada"}` {
		t.Error(got)
	}
	log.await(t, `response \"q1\"`)
	log.await(t, "does not support elicitation/create")
	if strings.Contains(log.String(), "resources/unsubscribe") {
		t.Error("bob's unsubscribe takes ada's subscription away")
	}
	if len(ada.notes)+len(bob.notes)+len(ada.asked)+len(bob.asked) > 0 {
		t.Error("somebody heard what belongs to nobody")
	}
}

func TestStderrIsBoundedAndHoldsNoSecrets(t *testing.T) {
	t.Parallel()
	log := newLogBuffer()
	o := command("raw")
	o.Command.Env["API_KEY"] = secret.New("k-123456789")
	o.Command.Env["LONGER"] = secret.New("k-123456789-and-more")
	o.Command.Env["SHORT"] = secret.New("on")
	tg := started(t, o)
	s := newStderr(tg)
	s.log = slog.New(slog.NewTextHandler(log, nil))
	s.read(strings.NewReader("using k-123456789-and-more and k-123456789, on\n" + strings.Repeat("noise\n", 10_000)))
	text := log.String()
	if !strings.Contains(text, "using REDACTED and REDACTED, on") || strings.Contains(text, "k-1234") {
		t.Errorf("%.300s", text)
	}
	if n := strings.Count(text, "\n"); n > stderrBurst+20 {
		t.Errorf("%d lines", n)
	}
	if !strings.Contains(text, "lines_left_out=") {
		t.Error("nothing says that lines are missing")
	}
	if s.last != "noise" {
		t.Errorf("last: %s", s.last)
	}
}

// A call whose process is killed from outside, say for want of memory, ends at once, and the next call has a new one.
func TestAProcessKilledMidCall(t *testing.T) {
	t.Parallel()
	tg := started(t, command("raw"))
	conn := connected(t, tg, Caller{Principal: person("ada")}, nil)
	pid := mustTool(t, conn, "pid")
	ended := make(chan error, 1)
	go func() {
		_, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("hang", ""), nil)
		ended <- err
	}()
	p := conn.link.(*commandLink).process
	for p.pending.concerned(&mcp.Message{Kind: mcp.KindNotification}) == nil { // until the call is on its way
		if sleep(t.Context(), time.Millisecond) != nil {
			t.Fatal("the test ended")
		}
	}
	before := time.Now()
	kill(t, pid)
	err := receive(t, ended, "the call")
	wants(t, err, Down)
	if d := time.Since(before); d > tg.opt.Timeout/2 {
		t.Errorf("it took %s", d)
	}
	if err == nil || !strings.Contains(err.Error(), "signal: killed") {
		t.Error(err)
	}
	if again := mustTool(t, conn, "pid"); again == pid {
		t.Error("the same process")
	}
}
