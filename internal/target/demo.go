package target

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	_ "time/tzdata" // the static binary runs where no time zones are installed

	jsonv2 "github.com/go-json-experiment/json"

	"gatehouse/internal/mcp"
)

// demoDialer opens sessions with the demo server that lives in the binary. It shows newcomers that sign-in, tools,
// progress, prompts, resources and completion work before they have a server of their own.
type demoDialer struct{ t *Target }

func (*demoDialer) close() {}

func (d *demoDialer) dial(_ context.Context, c *Conn) (link, error) {
	c.setServer(Server{
		Revision:     mcp.Latest,
		Capabilities: []byte(`{"completions":{},"logging":{},"prompts":{},"resources":{},"tools":{}}`),
		Info:         fmt.Appendf(nil, `{"name":"gatehouse-demo","title":"Gatehouse demo","version":%s}`, mcp.AppendString(nil, d.t.opt.Version)),
		Instructions: "A demo inside Gatehouse. Call whoami to see who you are to the servers behind it.",
	})
	return &demoLink{t: d.t, c: c}, nil
}

// demoLink is one session with the demo.
type demoLink struct {
	t     *Target
	c     *Conn
	ids   atomic.Int64
	mu    sync.Mutex // guards level
	level int
}

func (l *demoLink) request(m *mcp.Message, name string) *request {
	return sessionRequest(l.ids.Add(1), m, name, nil)
}
func (l *demoLink) send(context.Context, []byte) error { return nil }
func (l *demoLink) end(context.Context)                {}

// demoCall is one request to the demo.
type demoCall struct {
	l    *demoLink
	m    *mcp.Message
	came func(*mcp.Message)
}

func (l *demoLink) exchange(ctx context.Context, r *request) (*mcp.Result, error) {
	m, err := mcp.Decode(r.body, mcp.Limits{})
	if err != nil {
		return nil, err
	}
	result, err := (&demoCall{l: l, m: &m, came: r.tell}).run(ctx)
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(result)
	if err != nil {
		return nil, l.t.trouble(Down, err)
	}
	return mcp.ParseResult(raw), nil
}

type object = map[string]any

func (d *demoCall) run(ctx context.Context) (any, error) {
	switch d.m.Method {
	case mcp.MethodPing:
		return object{}, nil
	case mcp.MethodToolsList:
		return json.RawMessage(demoTools), nil
	case mcp.MethodPromptsList:
		return json.RawMessage(demoPrompts), nil
	case mcp.MethodResourcesList:
		return json.RawMessage(demoResources), nil
	case mcp.MethodTemplatesList:
		return json.RawMessage(demoTemplates), nil
	case mcp.MethodToolsCall:
		return d.tool(ctx)
	case mcp.MethodPromptsGet:
		return d.prompt()
	case mcp.MethodResourcesRead:
		return d.read()
	case mcp.MethodComplete:
		return d.complete()
	case mcp.MethodSetLevel:
		return d.setLevel()
	}
	return nil, mcp.Errorf(mcp.CodeMethodNotFound, "the demo does not know %s", d.m.Method)
}

// tool runs a tool. Wrong arguments are told to the model, in the result (server/tools, error handling).
func (d *demoCall) tool(ctx context.Context) (any, error) {
	var result any
	var err error
	switch d.m.Name {
	case "whoami":
		result, err = d.whoami()
	case "echo":
		result, err = d.echo()
	case "add":
		result, err = d.add()
	case "time":
		result, err = d.time()
	case "long_task":
		result, err = d.longTask(ctx)
	default:
		return nil, mcp.Errorf(mcp.CodeInvalidParams, "Unknown tool: %s", d.m.Name)
	}
	if wrong, ok := errors.AsType[wrongArguments](err); ok {
		return object{"content": textContent(wrong.Error()), "isError": true}, nil
	}
	return result, err
}

type wrongArguments struct{ what string }

func (w wrongArguments) Error() string { return w.what }

// arguments decodes the arguments of a tool or prompt strictly; absent ones leave into as it is.
func (d *demoCall) arguments(into any) error {
	raw, ok := mcp.Lookup(d.m.Params, "arguments")
	if !ok {
		return nil
	}
	if err := jsonv2.Unmarshal(raw, into, jsonv2.RejectUnknownMembers(true)); err != nil {
		return wrongArguments{"The arguments do not fit the input schema of " + d.m.Name + "."}
	}
	return nil
}

func textContent(text string) []object { return []object{{"type": "text", "text": text}} }

func structured(v any) (any, error) {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return nil, err
	}
	return object{"content": textContent(string(text)), "structuredContent": v}, nil
}

// whoami tells what Gatehouse knows about the person, and shows that no token came along.
func (d *demoCall) whoami() (any, error) {
	if err := d.arguments(&struct{}{}); err != nil {
		return nil, err
	}
	v := object{"signed_in": false, "protocol_revision": string(d.l.c.caller.Revision), "token_seen_by_this_server": false}
	if info := d.l.c.caller.ClientInfo; len(info) > 0 {
		v["client_info"] = json.RawMessage(info)
	}
	if p := d.l.c.caller.Principal; p != nil {
		v["signed_in"] = true
		v["issuer"], v["subject"] = p.Key.Issuer, p.Key.Subject
		v["client_id"], v["authorizer"] = p.Client, p.Authorizer
		v["scopes"], v["claims"] = slices.Clone(p.Scopes), p.Claims
		v["token_expires"] = p.Expires.UTC().Format(time.RFC3339)
	}
	return structured(v)
}

func (d *demoCall) echo() (any, error) {
	var a struct {
		Text *string `json:"text"`
	}
	if err := d.arguments(&a); err != nil {
		return nil, err
	}
	if a.Text == nil {
		return nil, wrongArguments{"The argument text is missing."}
	}
	return object{"content": textContent(*a.Text)}, nil
}

func (d *demoCall) add() (any, error) {
	var a struct {
		A *float64 `json:"a"`
		B *float64 `json:"b"`
	}
	if err := d.arguments(&a); err != nil {
		return nil, err
	}
	if a.A == nil || a.B == nil {
		return nil, wrongArguments{"The arguments a and b are both needed."}
	}
	sum := *a.A + *a.B
	return object{
		"content":           textContent(strconv.FormatFloat(sum, 'g', -1, 64)),
		"structuredContent": object{"sum": sum},
	}, nil
}

func (d *demoCall) time() (any, error) {
	var a struct {
		Zone string `json:"zone"`
	}
	if err := d.arguments(&a); err != nil {
		return nil, err
	}
	text, err := d.timeIn(a.Zone)
	if err != nil {
		return nil, err
	}
	return object{"content": textContent(text)}, nil
}

// timeIn returns the current time in an IANA zone, UTC by default. "Local" would name the server's own zone.
func (d *demoCall) timeIn(zone string) (string, error) {
	location, err := time.LoadLocation(zone)
	if err != nil || zone == "Local" {
		return "", wrongArguments{fmt.Sprintf("No time zone is called %q; try one such as Europe/Berlin.", zone)}
	}
	return d.l.t.opt.Now().In(location).Format("Monday, 2 January 2006, 15:04:05 MST"), nil
}

// Bounds of long_task.
const (
	maxSteps  = 100
	maxStepMS = 10_000
)

// longTask takes its time, shows progress when the client asked for it, and can be cancelled.
func (d *demoCall) longTask(ctx context.Context) (any, error) {
	a := struct {
		Steps  int `json:"steps"`
		StepMS int `json:"step_ms"`
	}{5, 500}
	if err := d.arguments(&a); err != nil {
		return nil, err
	}
	if a.Steps < 1 || a.Steps > maxSteps || a.StepMS < 1 || a.StepMS > maxStepMS {
		return nil, wrongArguments{fmt.Sprintf("steps goes from 1 to %d, step_ms from 1 to %d.", maxSteps, maxStepMS)}
	}
	d.log("info", fmt.Sprintf("long_task begins, %d steps", a.Steps))
	for i := 1; i <= a.Steps; i++ {
		if err := sleep(ctx, time.Duration(a.StepMS)*time.Millisecond); err != nil {
			return nil, err
		}
		if d.m.ProgressToken != nil {
			d.notify(mcp.NoteProgress, object{
				"progressToken": json.RawMessage(d.m.ProgressToken),
				"progress":      i, "total": a.Steps,
				"message": fmt.Sprintf("step %d of %d", i, a.Steps),
			})
		}
	}
	d.log("info", "long_task is done")
	return object{"content": textContent(fmt.Sprintf("Done, %d steps.", a.Steps))}, nil
}

// notify sends a notification along with the call.
func (d *demoCall) notify(method string, params any) {
	raw, err := json.Marshal(params)
	if err != nil {
		return
	}
	if m, err := mcp.Decode(mcp.AppendNotification(nil, method, raw), mcp.Limits{}); err == nil {
		d.came(&m)
	}
}

// levels are the severities of server/utilities/logging, least first.
func levels() []string {
	return []string{"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"}
}

func (d *demoCall) setLevel() (any, error) {
	name, _ := mcp.LookupString(d.m.Params, "level")
	level := slices.Index(levels(), name)
	if level < 0 {
		return nil, mcp.Errorf(mcp.CodeInvalidParams, "level must be one of %s", strings.Join(levels(), ", "))
	}
	d.l.mu.Lock()
	defer d.l.mu.Unlock()
	d.l.level = level
	return object{}, nil
}

func (d *demoCall) log(level, text string) {
	d.l.mu.Lock()
	wanted := slices.Index(levels(), level) >= d.l.level
	d.l.mu.Unlock()
	if wanted {
		d.notify(mcp.NoteMessage, object{"level": level, "logger": "demo", "data": text})
	}
}

func (d *demoCall) prompt() (any, error) {
	if d.m.Name != "introduce" {
		return nil, mcp.Errorf(mcp.CodeInvalidParams, "Unknown prompt: %s", d.m.Name)
	}
	var a struct {
		Tone string `json:"tone"`
	}
	if err := d.arguments(&a); err != nil {
		return nil, mcp.Errorf(mcp.CodeInvalidParams, "%s", err.Error())
	}
	text := "Call the tool whoami, then introduce me in two " + cmp.Or(a.Tone, "friendly") + " sentences: who I am to the servers behind Gatehouse, and what I may do there."
	return object{
		"description": "Introduce the signed-in person",
		"messages":    []object{{"role": "user", "content": object{"type": "text", "text": text}}},
	}, nil
}

func (d *demoCall) read() (any, error) {
	uri := d.m.Name
	switch zone, isTime := strings.CutPrefix(uri, demoTimePrefix); {
	case uri == "gatehouse://about":
		return contents(object{"uri": uri, "mimeType": "text/markdown", "text": demoAbout}), nil
	case uri == "gatehouse://pixel":
		blob := base64.StdEncoding.EncodeToString(demoPixel())
		return contents(object{"uri": uri, "mimeType": "image/gif", "blob": blob}), nil
	case isTime:
		text, err := d.timeIn(strings.ReplaceAll(zone, "%2F", "/"))
		if err != nil {
			return nil, mcp.Errorf(mcp.CodeInvalidParams, "%s", err.Error())
		}
		return contents(object{"uri": uri, "mimeType": "text/plain", "text": text}), nil
	}
	return nil, mcp.Errorf(mcp.CodeInvalidParams, "Resource not found: %s", uri)
}

func contents(c object) any { return object{"contents": []object{c}} }

// complete suggests tones for the prompt and zones for the time template.
func (d *demoCall) complete() (any, error) {
	argument, _ := mcp.Lookup(d.m.Params, "argument")
	name, _ := mcp.LookupString(argument, "name")
	typed, _ := mcp.LookupString(argument, "value")
	var known []string
	switch {
	case d.m.Ref == mcp.RefPrompt && d.m.Name == "introduce" && name == "tone":
		known = []string{"friendly", "formal", "funny", "terse"}
	case d.m.Ref == mcp.RefResource && d.m.Name == demoTimeTemplate && name == "zone":
		known = []string{"America%2FNew_York", "Asia%2FTokyo", "Australia%2FSydney", "Europe%2FBerlin", "Europe%2FLondon", "UTC"}
	default:
		return nil, mcp.Errorf(mcp.CodeInvalidParams, "nothing here can be completed")
	}
	values := []string{}
	for _, k := range known {
		if strings.HasPrefix(strings.ToLower(k), strings.ToLower(typed)) {
			values = append(values, k)
		}
	}
	return object{"completion": object{"values": values, "total": len(values), "hasMore": false}}, nil
}
