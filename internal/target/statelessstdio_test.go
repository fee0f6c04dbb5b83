package target

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/mcp"
)

// rawModern is a hand-written server of the stateless era over stdio.
func rawModern(m *mcp.Message) {
	if m.Kind == mcp.KindNotification {
		fmt.Fprintln(os.Stderr, "heard", m.Method, string(m.Params))
		return
	}
	if m.Version == nil || len(m.Capabilities) == 0 {
		say(mcp.AppendError(nil, m.ID, mcp.Errorf(mcp.CodeUnsupportedRevision, "this server has no sessions")))
		return
	}
	switch m.Method {
	case mcp.MethodDiscover:
		say(mcp.AppendResult(nil, m.ID, []byte(`{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{"listChanged":true},"resources":{"subscribe":true}},"ttlMs":0,"cacheScope":"public"}`)))
	case mcp.MethodToolsList:
		say(mcp.AppendResult(nil, m.ID, fmt.Appendf(nil, `{"resultType":"complete","tools":[{"name":"x","description":"at %d","inputSchema":{}}],"ttlMs":60000,"cacheScope":"public"}`, time.Now().UnixNano())))
	case mcp.MethodListen:
		wanted, _ := mcp.Lookup(m.Params, "notifications")
		mark := `"_meta":{"` + mcp.MetaSubscription + `":` + string(m.ID) + `}`
		say(mcp.AppendNotification(nil, mcp.NoteAcknowledged, []byte(`{`+mark+`,"notifications":`+string(wanted)+`}`)))
		if strings.Contains(string(wanted), "toolsListChanged") {
			say(mcp.AppendNotification(nil, mcp.NoteToolsChanged, []byte(`{`+mark+`}`)))
		} else {
			say(mcp.AppendNotification(nil, mcp.NoteResourceUpdated, []byte(`{`+mark+`,"uri":"mem://one"}`)))
		}
	case mcp.MethodToolsCall:
		rawModernTool(m)
	default:
		say(mcp.AppendError(nil, m.ID, mcp.Errorf(mcp.CodeMethodNotFound, "Method not found")))
	}
}

func rawModernTool(m *mcp.Message) {
	switch {
	case m.Name == "hang":
		fmt.Fprintln(os.Stderr, "hanging", string(m.ID))
	case m.Name == "asks" && m.InputResponses == nil:
		say(mcp.AppendResult(nil, m.ID, []byte(`{"resultType":"input_required","inputRequests":{"who":{"method":"elicitation/create","params":{"message":"Who?","requestedSchema":{"type":"object","properties":{}}}}},"requestState":"s"}`)))
	case m.Name == "rude": // there are no requests of servers in this era
		say([]byte(`{"jsonrpc":"2.0","id":"r","method":"roots/list"}`))
		say(mcp.AppendResult(nil, m.ID, []byte(`{"resultType":"complete","content":[]}`)))
	default:
		if m.ProgressToken != nil {
			say(mcp.AppendNotification(nil, mcp.NoteProgress, fmt.Appendf(nil, `{"progressToken":%s,"progress":1}`, m.ProgressToken)))
		}
		say(mcp.AppendResult(nil, m.ID, fmt.Appendf(nil, `{"resultType":"complete","content":[],"got":%s}`, m.Params)))
	}
}

func TestStatelessProcess(t *testing.T) {
	t.Parallel()
	log := newLogBuffer()
	tg := started(t, Options{Command: commandOptions("modern"), Log: logTo(log)})
	changed := make(chan string, 100)
	t.Cleanup(tg.OnChange(func(kind string) { changed <- kind }))
	c, err := tg.Catalog(t.Context())
	if err != nil || len(c.Tools) != 1 || c.Revision != mcp.Rev20260728 || c.TTL != time.Minute {
		t.Fatalf("%+v, %v", c, err)
	}
	receive(t, changed, "the first catalogue")
	receive(t, changed, "the list that changed, told on the process's own stream")

	events := newRecorder()
	events.answer = func(context.Context, *mcp.Message) ([]byte, *mcp.Error) { return []byte(`{"action":"accept"}`), nil }
	conn := connected(t, tg, Caller{Principal: person("ada"), Revision: mcp.Latest, Capabilities: []byte(`{"elicitation":{}}`)}, events)
	beside := connected(t, tg, Caller{Principal: person("ada"), Revision: mcp.Latest, Capabilities: []byte(`{"elicitation":{}}`)}, newRecorder())
	for _, c := range []*Conn{conn, beside} {
		var told []string
		result, err := c.Call(t.Context(), mcp.MethodToolsCall, toolParams("x", `,"_meta":{"progressToken":"mine"}`), func(m *mcp.Message) { told = append(told, string(m.ProgressToken)) })
		if err != nil || !strings.Contains(string(result), mcp.MetaVersion) || strings.Join(told, " ") != `"mine"` {
			t.Errorf("%s, %v, told %v", result, err, told)
		}
	}
	if result, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("asks", ""), nil); err != nil || !strings.Contains(string(result), `"inputResponses":{"who":{"action":"accept"}}`) || !strings.Contains(string(result), `"requestState":"s"`) {
		t.Errorf("%s, %v", result, err)
	}
	if _, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("rude", ""), nil); err != nil {
		t.Error(err)
	}
	if _, err := conn.Call(t.Context(), mcp.MethodSubscribe, []byte(`{"uri":"mem://one"}`), nil); err != nil {
		t.Fatal(err)
	}
	if note := receive(t, events.notes, "an update"); !strings.Contains(note, "mem://one") {
		t.Errorf("told %s", note)
	}
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := conn.Call(ctx, mcp.MethodToolsCall, toolParams("hang", ""), nil)
		failed <- err
	}()
	log.await(t, "hanging")
	cancel()
	receive(t, failed, "the call to end")
	log.await(t, "heard notifications/cancelled")
	if _, err := conn.Call(t.Context(), mcp.MethodUnsubscribe, []byte(`{"uri":"mem://one"}`), nil); err != nil {
		t.Error(err)
	}
	eventually(t, "the process hears that nobody listens any more", func() bool {
		return strings.Count(log.String(), "heard notifications/cancelled") == 2
	})
}

// Servers of the session era that take nothing before initialize, or end at it, are found out once.
func TestProcessesThatTakeNoQuestion(t *testing.T) {
	t.Parallel()
	for _, play := range []string{"deaf", "touchy"} {
		t.Run(play, func(t *testing.T) {
			t.Parallel()
			log := newLogBuffer()
			o := Options{Command: commandOptions(play), Log: logTo(log)}
			o.Command.StartTimeout = 9 * time.Second // a third of it is for the question
			tg := started(t, o)
			eventually(t, "its catalogue", func() bool {
				c, err := tg.Catalog(t.Context())
				return err == nil && len(c.Tools) == 1 && c.Revision == mcp.Rev20250618
			})
			conn := connected(t, tg, Caller{Principal: person("ada"), Revision: mcp.Latest}, nil)
			if mustTool(t, conn, "pid") == "" {
				t.Error("no pid")
			}
			if n := strings.Count(log.String(), "expected initialize"); n != 1 {
				t.Errorf("the question was asked %d times", n)
			}
		})
	}
}

// A command that cannot start says why, and is not started over and over.
func TestProcessThatDiesAtOnce(t *testing.T) {
	t.Parallel()
	tg, err := New(Options{Name: "up", Command: commandOptions("dies-at-once")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tg.close)
	_, err = tg.Connect(t.Context(), Caller{Principal: person("ada")}, nil)
	if trouble, ok := errors.AsType[*Trouble](err); !ok || trouble.Kind != Down || !strings.Contains(err.Error(), "cannot find my database") {
		t.Errorf("%v", err)
	}
}

// eventually waits for something that another process does.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("did not happen: %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// Of a process that persons share each hears what names a request of that person, and no more.
func TestSharedStatelessProcess(t *testing.T) {
	t.Parallel()
	o := Options{Command: commandOptions("modern")}
	o.Command.Shared = true
	tg := started(t, o)
	ada, bob := newRecorder(), newRecorder()
	adaConn := connected(t, tg, Caller{Principal: person("ada"), Revision: mcp.Latest}, ada)
	bobConn := connected(t, tg, Caller{Principal: person("bob"), Revision: mcp.Latest}, bob)
	if _, err := adaConn.Call(t.Context(), mcp.MethodSubscribe, []byte(`{"uri":"mem://one"}`), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := bobConn.Call(t.Context(), mcp.MethodToolsCall, toolParams("x", ""), nil); err != nil {
		t.Fatal(err)
	}
	if note := receive(t, ada.notes, "an update"); !strings.Contains(note, "mem://one") {
		t.Errorf("ada was told %s", note)
	}
	if len(bob.notes) > 0 {
		t.Errorf("bob was told %s", <-bob.notes)
	}
}
