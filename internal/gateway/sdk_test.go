package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/internal/target"
)

// sdkTarget is a server of the official Go SDK with something of everything, and the target in front of it.
func sdkTarget(t *testing.T, name string) (*sdk.Server, *target.Target) {
	t.Helper()
	return sdkTargetOf(t, name, nil)
}

func sdkTargetOf(t *testing.T, name string, o *sdk.StreamableHTTPOptions) (*sdk.Server, *target.Target) {
	t.Helper()
	s := sdk.NewServer(&sdk.Implementation{Name: name, Version: "1"}, &sdk.ServerOptions{
		Instructions: "Be kind to " + name + ".",
		PageSize:     2,
		CompletionHandler: func(_ context.Context, r *sdk.CompleteRequest) (*sdk.CompleteResult, error) {
			return &sdk.CompleteResult{Completion: sdk.CompletionResultDetails{Values: []string{r.Params.Ref.Name + r.Params.Ref.URI}}}, nil
		},
		SubscribeHandler:   func(context.Context, *sdk.SubscribeRequest) error { return nil },
		UnsubscribeHandler: func(context.Context, *sdk.UnsubscribeRequest) error { return nil },
	})
	addTools(s)
	s.AddPrompt(&sdk.Prompt{Name: "hi"}, func(_ context.Context, r *sdk.GetPromptRequest) (*sdk.GetPromptResult, error) {
		return &sdk.GetPromptResult{Description: r.Params.Name + " from " + name}, nil
	})
	read := func(_ context.Context, r *sdk.ReadResourceRequest) (*sdk.ReadResourceResult, error) {
		return &sdk.ReadResourceResult{Contents: []*sdk.ResourceContents{{URI: r.Params.URI, Text: "text of " + r.Params.URI}}}, nil
	}
	s.AddResource(&sdk.Resource{Name: "one", URI: name + "://one"}, read)
	s.AddResourceTemplate(&sdk.ResourceTemplate{Name: "any", URITemplate: name + "://any/{x}"}, read)
	h := httptest.NewServer(sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return s }, o))
	t.Cleanup(func() {
		h.CloseClientConnections()
		h.Close()
		for ss := range s.Sessions() {
			_ = ss.Close()
		}
	})
	made := newTarget(t, name, h.URL, nil)
	return s, running(t, made)
}

func addTools(s *sdk.Server) {
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
	tool("steps", func(ctx context.Context, r *sdk.CallToolRequest) (string, error) {
		for i := range 3 {
			if err := r.Session.NotifyProgress(ctx, &sdk.ProgressNotificationParams{ProgressToken: r.Params.GetProgressToken(), Progress: float64(i + 1)}); err != nil {
				return "", err
			}
		}
		return "done", r.Session.Log(ctx, &sdk.LoggingMessageParams{Level: "warning", Data: "careful"})
	})
	tool("elicit", func(ctx context.Context, r *sdk.CallToolRequest) (string, error) {
		res, err := r.Session.Elicit(ctx, &sdk.ElicitParams{Message: "Your name?", RequestedSchema: map[string]any{"type": "object", "properties": map[string]any{"name": map[string]any{"type": "string"}}}})
		if err != nil {
			return "refused: " + err.Error(), nil
		}
		return fmt.Sprint(res.Action, " ", res.Content["name"]), nil
	})
	tool("sample", func(ctx context.Context, r *sdk.CallToolRequest) (string, error) {
		res, err := r.Session.CreateMessage(ctx, &sdk.CreateMessageParams{MaxTokens: 10, Messages: []*sdk.SamplingMessage{{Role: "user", Content: &sdk.TextContent{Text: "say it"}}}})
		if err != nil {
			return "refused: " + err.Error(), nil
		}
		return res.Content.(*sdk.TextContent).Text, nil
	})
	tool("roots", func(ctx context.Context, r *sdk.CallToolRequest) (string, error) {
		res, err := r.Session.ListRoots(ctx, nil)
		if err != nil {
			return "refused: " + err.Error(), nil
		}
		return res.Roots[0].URI, nil
	})
	tool("touch", func(ctx context.Context, _ *sdk.CallToolRequest) (string, error) {
		return "ok", s.ResourceUpdated(ctx, &sdk.ResourceUpdatedNotificationParams{URI: "left://one"})
	})
	tool("wait", func(ctx context.Context, r *sdk.CallToolRequest) (string, error) {
		_ = r.Session.NotifyProgress(ctx, &sdk.ProgressNotificationParams{ProgressToken: r.Params.GetProgressToken(), Progress: 1})
		<-ctx.Done()
		return "", ctx.Err()
	})
}

// bearer adds a token to every request, as a client does that has signed in.
type bearer struct {
	token string
	next  http.RoundTripper
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return b.next.RoundTrip(r)
}

// heard is what a client was told.
type heard struct {
	mu   sync.Mutex
	said []string
	news chan struct{}
}

func (h *heard) add(format string, args ...any) {
	h.mu.Lock()
	h.said = append(h.said, fmt.Sprintf(format, args...))
	h.mu.Unlock()
	select {
	case h.news <- struct{}{}:
	default:
	}
}

func (h *heard) await(t *testing.T, what string) {
	t.Helper()
	late := time.After(10 * time.Second)
	for {
		h.mu.Lock()
		found := slices.Contains(h.said, what)
		all := strings.Join(h.said, "; ")
		h.mu.Unlock()
		if found {
			return
		}
		select {
		case <-h.news:
		case <-late:
			t.Fatalf("did not hear %q, but: %s", what, all)
		}
	}
}

func clientOptions(h *heard, able bool) *sdk.ClientOptions {
	o := &sdk.ClientOptions{
		ProgressNotificationHandler: func(_ context.Context, r *sdk.ProgressNotificationClientRequest) {
			h.add("progress %v %v", r.Params.ProgressToken, r.Params.Progress)
		},
		LoggingMessageHandler:  func(_ context.Context, r *sdk.LoggingMessageRequest) { h.add("log %v", r.Params.Data) },
		ToolListChangedHandler: func(context.Context, *sdk.ToolListChangedRequest) { h.add("tools changed") },
		ResourceUpdatedHandler: func(_ context.Context, r *sdk.ResourceUpdatedNotificationRequest) {
			h.add("updated %s", r.Params.URI)
		},
	}
	if able {
		o.ElicitationHandler = func(_ context.Context, r *sdk.ElicitRequest) (*sdk.ElicitResult, error) {
			return &sdk.ElicitResult{Action: "accept", Content: map[string]any{"name": "Ada"}}, nil
		}
		o.CreateMessageHandler = func(context.Context, *sdk.CreateMessageRequest) (*sdk.CreateMessageResult, error) {
			return &sdk.CreateMessageResult{Model: "m", Role: "assistant", Content: &sdk.TextContent{Text: "said"}}, nil
		}
	}
	return o
}

// sdkClient connects the official client in the session era. Able says whether it can be asked.
func sdkClient(t *testing.T, s *setup, able bool) (*sdk.ClientSession, *heard) {
	t.Helper()
	return sdkClientOf(t, s, able, "2025-11-25")
}

func sdkClientOf(t *testing.T, s *setup, able bool, revision string) (*sdk.ClientSession, *heard) {
	t.Helper()
	h := &heard{news: make(chan struct{}, 1)}
	o := clientOptions(h, able)
	client := sdk.NewClient(&sdk.Implementation{Name: "sdk-client", Version: "1"}, o)
	client.AddRoots(&sdk.Root{URI: "file:///home/ada"})
	transport := &http.Transport{}
	session, err := client.Connect(t.Context(), &sdk.StreamableClientTransport{
		Endpoint: s.server.URL + "/mcp", HTTPClient: &http.Client{Transport: bearer{"ada-token", transport}},
	}, &sdk.ClientSessionOptions{ProtocolVersion: revision})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = session.Close()
		transport.CloseIdleConnections()
	})
	return session, h
}

func TestOfficialClient(t *testing.T) {
	t.Parallel()
	_, left := sdkTarget(t, "left")
	_, right := sdkTarget(t, "right")
	s := start(t, config{endpoints: []Endpoint{{Prefix: true, Targets: []*target.Target{left, right}}}, options: Options{PageSize: 3}})
	session, h := sdkClient(t, s, true)

	if got := session.InitializeResult(); got.ProtocolVersion != "2025-11-25" || got.ServerInfo.Name != "gatehouse" || !strings.Contains(got.Instructions, "# right\n\nBe kind to right.") {
		t.Errorf("initialize: %+v", got)
	}
	if err := session.Ping(t.Context(), nil); err != nil {
		t.Errorf("ping: %v", err)
	}
	var names []string
	for tool, err := range session.Tools(t.Context(), nil) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, tool.Name)
	}
	if len(names) != 14 || names[0] != "left___echo" || names[7] != "right___echo" {
		t.Errorf("tools %v", names)
	}
	call := func(name string) string {
		t.Helper()
		p := &sdk.CallToolParams{Name: name, Arguments: map[string]any{"a": 1}}
		p.SetProgressToken("mine")
		res, err := session.CallTool(t.Context(), p)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return res.Content[0].(*sdk.TextContent).Text
	}
	for name, want := range map[string]string{
		"right___echo": `{"a":1}`, "left___steps": "done", "left___elicit": "accept Ada", "left___sample": "said", "left___roots": "file:///home/ada",
	} {
		if got := call(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for i := range 3 {
		h.await(t, fmt.Sprintf("progress mine %d", i+1))
	}
	if err := session.SetLoggingLevel(t.Context(), &sdk.SetLoggingLevelParams{Level: "debug"}); err != nil {
		t.Errorf("setLevel: %v", err)
	}
	call("left___steps")
	h.await(t, "log careful")

	prompt, err := session.GetPrompt(t.Context(), &sdk.GetPromptParams{Name: "right___hi"})
	if err != nil || prompt.Description != "hi from right" {
		t.Errorf("prompt: %v %+v", err, prompt)
	}
	for _, uri := range []string{"right://one", "left://any/7"} {
		res, err := session.ReadResource(t.Context(), &sdk.ReadResourceParams{URI: uri})
		if err != nil || res.Contents[0].Text != "text of "+uri {
			t.Errorf("resource %s: %v %+v", uri, err, res)
		}
	}
	templates, err := session.ListResourceTemplates(t.Context(), nil)
	if err != nil || len(templates.ResourceTemplates) != 2 {
		t.Errorf("templates: %v %+v", err, templates)
	}
	done, err := session.Complete(t.Context(), &sdk.CompleteParams{
		Ref: &sdk.CompleteReference{Type: "ref/prompt", Name: "right___hi"}, Argument: sdk.CompleteParamsArgument{Name: "a", Value: ""}})
	if err != nil || done.Completion.Values[0] != "hi" {
		t.Errorf("completion: %v %+v", err, done)
	}
	if err := session.Subscribe(t.Context(), &sdk.SubscribeParams{URI: "left://one"}); err != nil {
		t.Errorf("subscribe: %v", err)
	}
	call("left___touch")
	h.await(t, "updated left://one")
	if err := session.Unsubscribe(t.Context(), &sdk.UnsubscribeParams{URI: "left://one"}); err != nil {
		t.Errorf("unsubscribe: %v", err)
	}
	if _, err := session.CallTool(t.Context(), &sdk.CallToolParams{Name: "right___nop"}); err == nil || !strings.Contains(err.Error(), "Unknown tool: right___nop") {
		t.Errorf("unknown tool: %v", err)
	}
}

func TestOfficialClientCancels(t *testing.T) {
	t.Parallel()
	_, left := sdkTarget(t, "left")
	s := start(t, config{endpoints: []Endpoint{{Prefix: true, Targets: []*target.Target{left}}}})
	session, h := sdkClient(t, s, true)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		p := &sdk.CallToolParams{Name: "left___wait"}
		p.SetProgressToken("w")
		if _, err := session.CallTool(ctx, p); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled call: %v", err)
		}
	})
	h.await(t, "progress w 1")
	cancel()
	wg.Wait()
	eventually(t, "the tool's context ends", func() bool { return strings.Contains(s.log.String(), `"outcome":"cancelled"`) })
	if err := session.Ping(t.Context(), nil); err != nil {
		t.Errorf("the session is broken after a cancellation: %v", err)
	}
}

func TestOfficialClientWithoutCapabilities(t *testing.T) {
	t.Parallel()
	_, left := sdkTarget(t, "left")
	s := start(t, config{endpoints: []Endpoint{{Prefix: true, Targets: []*target.Target{left}}}})
	session, _ := sdkClient(t, s, false)
	for _, tool := range []string{"elicit", "sample"} {
		res, err := session.CallTool(t.Context(), &sdk.CallToolParams{Name: "left___" + tool})
		if err != nil {
			t.Fatal(err)
		}
		if text := res.Content[0].(*sdk.TextContent).Text; !strings.HasPrefix(text, "refused: ") {
			t.Errorf("%s: %s", tool, text)
		}
	}
}

func TestOfficialClientHearsOfNewTools(t *testing.T) {
	t.Parallel()
	server, left := sdkTarget(t, "left")
	s := start(t, config{endpoints: []Endpoint{{Prefix: true, Targets: []*target.Target{left}}}})
	session, h := sdkClient(t, s, true)
	if _, err := session.ListTools(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	server.AddTool(&sdk.Tool{Name: "fresh", InputSchema: map[string]any{"type": "object"}}, func(context.Context, *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
		return &sdk.CallToolResult{Content: []sdk.Content{}}, nil
	})
	h.await(t, "tools changed")
	eventually(t, "the new tool is listed", func() bool {
		tools, err := session.ListTools(t.Context(), nil)
		return err == nil && slices.ContainsFunc(tools.Tools, func(t *sdk.Tool) bool { return t.Name == "left___fresh" })
	})
}
