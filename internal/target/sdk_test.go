package target

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/internal/mcp"
	"gatehouse/internal/secret"
)

func sdkStdio() sdk.Transport { return &sdk.StdioTransport{} }

// sdkServer is a server of the official Go SDK with something of everything.
func sdkServer() *sdk.Server {
	s := sdk.NewServer(&sdk.Implementation{Name: "sdk", Version: "1"}, &sdk.ServerOptions{
		Instructions: "Be kind.",
		PageSize:     2,
		CompletionHandler: func(_ context.Context, r *sdk.CompleteRequest) (*sdk.CompleteResult, error) {
			return &sdk.CompleteResult{Completion: sdk.CompletionResultDetails{Values: []string{r.Params.Ref.Name + "!"}}}, nil
		},
		SubscribeHandler:   func(context.Context, *sdk.SubscribeRequest) error { return nil },
		UnsubscribeHandler: func(context.Context, *sdk.UnsubscribeRequest) error { return nil },
	})
	tool := func(name string, h func(ctx context.Context, r *sdk.CallToolRequest) (string, error)) {
		s.AddTool(&sdk.Tool{Name: name, InputSchema: map[string]any{"type": "object"}}, func(ctx context.Context, r *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
			text, err := h(ctx, r)
			if err != nil {
				return nil, err
			}
			return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: text}}}, nil
		})
	}
	tool("echo", func(_ context.Context, r *sdk.CallToolRequest) (string, error) {
		return string(r.Params.Arguments), nil
	})
	tool("progress", func(ctx context.Context, r *sdk.CallToolRequest) (string, error) {
		for i := range 3 {
			if err := r.Session.NotifyProgress(ctx, &sdk.ProgressNotificationParams{ProgressToken: r.Params.GetProgressToken(), Progress: float64(i + 1), Total: 3}); err != nil {
				return "", err
			}
		}
		return "done", nil
	})
	tool("ask", func(ctx context.Context, r *sdk.CallToolRequest) (string, error) {
		res, err := r.Session.Elicit(ctx, &sdk.ElicitParams{Message: "Your name?", RequestedSchema: map[string]any{"type": "object", "properties": map[string]any{"name": map[string]any{"type": "string"}}}})
		if err != nil {
			return "refused: " + err.Error(), nil
		}
		return fmt.Sprint(res.Action, " ", res.Content["name"]), nil
	})
	tool("touch", func(ctx context.Context, _ *sdk.CallToolRequest) (string, error) {
		return "ok", s.ResourceUpdated(ctx, &sdk.ResourceUpdatedNotificationParams{URI: "mem://one"})
	})
	tool("grow", func(context.Context, *sdk.CallToolRequest) (string, error) {
		tool := &sdk.Tool{Name: "grown", InputSchema: map[string]any{"type": "object"}}
		s.AddTool(tool, func(context.Context, *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
			return &sdk.CallToolResult{}, nil
		})
		return "ok", nil
	})
	tool("wait", func(ctx context.Context, _ *sdk.CallToolRequest) (string, error) {
		fmt.Fprintln(os.Stderr, "waiting")
		<-ctx.Done()
		fmt.Fprintln(os.Stderr, "was cancelled")
		return "", ctx.Err()
	})
	s.AddPrompt(&sdk.Prompt{Name: "hi"}, func(context.Context, *sdk.GetPromptRequest) (*sdk.GetPromptResult, error) {
		return &sdk.GetPromptResult{Description: "greets"}, nil
	})
	read := func(_ context.Context, r *sdk.ReadResourceRequest) (*sdk.ReadResourceResult, error) {
		return &sdk.ReadResourceResult{Contents: []*sdk.ResourceContents{{URI: r.Params.URI, Text: "text of " + r.Params.URI}}}, nil
	}
	s.AddResource(&sdk.Resource{Name: "one", URI: "mem://one"}, read)
	s.AddResourceTemplate(&sdk.ResourceTemplate{Name: "any", URITemplate: "mem://any/{x}"}, read)
	return s
}

func sdkOverHTTP(t *testing.T, o *sdk.StreamableHTTPOptions) Options {
	t.Helper()
	server := sdkServer()
	s := httptest.NewServer(sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return server }, o))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
		for session := range server.Sessions() {
			_ = session.Close()
		}
	})
	return Options{HTTP: &HTTPOptions{URL: s.URL}}
}

// sdkOverSSE is the same server over the transport of 2024-11-05.
func sdkOverSSE(t *testing.T) Options {
	t.Helper()
	server := sdkServer()
	s := httptest.NewServer(sdk.NewSSEHandler(func(*http.Request) *sdk.Server { return server }, nil))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
		for session := range server.Sessions() {
			_ = session.Close()
		}
	})
	return Options{HTTP: &HTTPOptions{URL: s.URL + "/sse"}}
}

func sdkOverStdio(*testing.T) Options { return Options{Command: commandOptions("sdk")} }

func commandOptions(play string) *CommandOptions {
	return &CommandOptions{Args: []string{os.Args[0]}, Env: map[string]secret.Text{commandEnv: secret.New(play)}}
}

// TestOfficialServer runs the same calls against a server of the official Go SDK over each transport.
func TestOfficialServer(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]func(t *testing.T) Options{
		"http with events": func(t *testing.T) Options { return sdkOverHTTP(t, nil) },
		"http with stored events": func(t *testing.T) Options {
			return sdkOverHTTP(t, &sdk.StreamableHTTPOptions{EventStore: sdk.NewMemoryEventStore(nil)})
		},
		"http+sse": sdkOverSSE,
		"stdio":    sdkOverStdio,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tg := started(t, options(t))
			events := newRecorder()
			events.answer = func(context.Context, *mcp.Message) ([]byte, *mcp.Error) {
				return []byte(`{"action":"accept","content":{"name":"Ada"}}`), nil
			}
			conn := connected(t, tg, Caller{Principal: person("ada"), ClientInfo: []byte(`{"name":"c","version":"1"}`), Capabilities: []byte(`{"elicitation":{}}`)}, events)
			catalogue(t, tg)
			calls(t, conn, events)
			changes(t, tg, conn, events)
		})
	}
}

func catalogue(t *testing.T, tg *Target) {
	t.Helper()
	c, err := tg.Catalog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Tools) != 6 || len(c.Prompts) != 1 || len(c.Resources) != 1 || len(c.Templates) != 1 {
		t.Errorf("%d tools, %d prompts, %d resources, %d templates", len(c.Tools), len(c.Prompts), len(c.Resources), len(c.Templates))
	}
	if c.Instructions != "Be kind." || c.Revision != mcp.Rev20251125 || !c.Offers().Completions || !c.Offers().Subscribe || c.Version != 1 {
		t.Errorf("%+v", c)
	}
	if h := tg.Health(); h.State != OK || h.LastError != "" {
		t.Errorf("health %+v", h)
	}
}

func calls(t *testing.T, conn *Conn, events *recorder) {
	t.Helper()
	ctx := t.Context()
	result, err := conn.Call(ctx, mcp.MethodToolsCall, toolParams("echo", `, "arguments":{"n":12345678901234567890,"x":
		"é"}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	if text := textOf(t, result); !strings.Contains(text, "12345678901234567890") || !strings.Contains(text, "é") {
		t.Errorf("echo: %s", text)
	}

	var seen []string
	result, err = conn.Call(ctx, mcp.MethodToolsCall, toolParams("progress", `,"_meta":{"progressToken":"mine"}`), func(m *mcp.Message) {
		token, _ := mcp.Lookup(m.Params, "progressToken")
		progress, _ := mcp.Lookup(m.Params, "progress")
		seen = append(seen, string(token)+string(progress))
	})
	if err != nil || textOf(t, result) != "done" || strings.Join(seen, " ") != `"mine"1 "mine"2 "mine"3` {
		t.Errorf("progress: %s %v %v", result, err, seen)
	}

	result, err = conn.Call(ctx, mcp.MethodToolsCall, toolParams("ask", ""), nil)
	if err != nil || textOf(t, result) != "accept Ada" {
		t.Errorf("ask: %s %v", result, err)
	}
	if asked := receive(t, events.asked, "elicitation"); !strings.Contains(asked, "Your name?") {
		t.Errorf("asked %s", asked)
	}

	_, err = conn.Call(ctx, mcp.MethodToolsCall, toolParams("no_such_tool", ""), nil)
	if said, ok := errors.AsType[*mcp.Error](err); !ok || said.Code != mcp.CodeInvalidParams {
		t.Errorf("unknown tool: %v", err)
	}
	for method, params := range map[string]string{
		mcp.MethodPromptsGet:    `{"name":"hi"}`,
		mcp.MethodResourcesRead: `{"uri":"mem://any/7"}`,
		mcp.MethodComplete:      `{"ref":{"type":"ref/prompt","name":"hi"},"argument":{"name":"a","value":""}}`,
		mcp.MethodPing:          `{}`,
		mcp.MethodSetLevel:      `{"level":"debug"}`,
		mcp.MethodSubscribe:     `{"uri":"mem://one"}`,
	} {
		if _, err := conn.Call(ctx, method, []byte(params), nil); err != nil {
			t.Errorf("%s: %v", method, err)
		}
	}
	if err := conn.Notify(ctx, mcp.NoteRootsChanged, nil); err != nil {
		t.Errorf("notify: %v", err)
	}
}

// changes checks what arrives outside calls: an updated resource, and a new tool.
func changes(t *testing.T, tg *Target, conn *Conn, events *recorder) {
	t.Helper()
	changed := make(chan string, 10)
	defer tg.OnChange(func(kind string) { changed <- kind })()
	if _, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("touch", ""), nil); err != nil {
		t.Fatal(err)
	}
	if note := receive(t, events.notes, "resource update"); note != `notifications/resources/updated {"uri":"mem://one"}` {
		t.Errorf("got %s", note)
	}
	if tg.opt.Command != nil {
		return // the process that grows is the person's, not the one of the catalogue
	}
	if _, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("grow", ""), nil); err != nil {
		t.Fatal(err)
	}
	if kind := receive(t, changed, "list change"); kind != "tools" {
		t.Errorf("changed %s", kind)
	}
	if c, err := tg.Catalog(t.Context()); err != nil || len(c.Tools) != 7 || c.Version != 2 {
		t.Errorf("after the change: %+v %v", c, err)
	}
}

func TestOfficialServerWithJSONAnswers(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]*sdk.StreamableHTTPOptions{
		"session":   {JSONResponse: true},
		"stateless": {JSONResponse: true, Stateless: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tg := started(t, sdkOverHTTP(t, o))
			conn := connected(t, tg, Caller{Principal: person("ada")}, newRecorder())
			result, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("echo", `,"arguments":{"a":1}`), nil)
			if err != nil || textOf(t, result) != `{"a":1}` {
				t.Errorf("%s %v", result, err)
			}
			if c, err := tg.Catalog(t.Context()); err != nil || len(c.Tools) != 6 {
				t.Errorf("%+v %v", c, err)
			}
		})
	}
}

// TestClientCapabilitiesDecideWhatServersMayAsk calls a tool that asks the person, for a client that cannot be asked.
func TestClientCapabilitiesDecideWhatServersMayAsk(t *testing.T) {
	t.Parallel()
	tg := started(t, sdkOverHTTP(t, nil))
	events := newRecorder()
	conn := connected(t, tg, Caller{Principal: person("ada")}, events)
	result, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("ask", ""), nil)
	if err != nil || !strings.HasPrefix(textOf(t, result), "refused") || len(events.asked) > 0 {
		t.Errorf("%s %v", result, err)
	}
}

func TestCancellationReachesTheServer(t *testing.T) {
	t.Parallel()
	log := newLogBuffer()
	o := sdkOverStdio(t)
	o.Log = logTo(log)
	conn := connected(t, started(t, o), Caller{Principal: person("ada")}, newRecorder())
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := conn.Call(ctx, mcp.MethodToolsCall, toolParams("wait", ""), nil)
		failed <- err
	}()
	log.await(t, "waiting")
	cancel()
	if trouble, ok := errors.AsType[*Trouble](receive(t, failed, "the call to end")); !ok || trouble.Kind != Canceled {
		t.Errorf("%v", trouble)
	}
	log.await(t, "was cancelled")
}
