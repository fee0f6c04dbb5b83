package gateway

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"gatehouse/internal/mcp"
)

// modern speaks to the gateway as a client of the stateless era.
type modern struct {
	*caller
	can    string // capabilities, raw JSON
	nextID int
}

func (s *setup) modern(token, can string) *modern { return &modern{caller: s.caller(token), can: can} }

// members are the members of params beside name and _meta, raw JSON without braces.
func (c *modern) message(method, name, members, meta string) string {
	c.nextID++
	params := `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":` + c.can
	if meta != "" {
		params += "," + meta
	}
	params += "}"
	if name != "" {
		key := "name"
		if method == mcp.MethodResourcesRead {
			key = "uri"
		}
		params += `,"` + key + `":` + string(mcp.AppendString(nil, name))
	}
	if members != "" {
		params += "," + members
	}
	id, _ := json.Marshal(c.nextID)
	return `{"jsonrpc":"2.0","id":` + string(id) + `,"method":"` + method + `","params":{` + params + `}}`
}

func (c *modern) newRequest(ctx context.Context, method, name, members, meta string) *http.Request {
	r := c.request(ctx, http.MethodPost, c.message(method, name, members, meta))
	r.Header.Set("Mcp-Protocol-Version", "2026-07-28")
	r.Header.Set("Mcp-Method", method)
	if name != "" {
		r.Header.Set("Mcp-Name", mcp.EncodeHeader(name))
	}
	return r
}

// ask sends a request and returns the status and the last message of the answer.
func (c *modern) ask(method, name, members string) (int, string) {
	c.s.t.Helper()
	return c.read(c.do(c.newRequest(c.s.t.Context(), method, name, members, "")))
}

// call calls a tool.
func (c *modern) call(name, members string) string {
	c.s.t.Helper()
	_, body := c.ask(mcp.MethodToolsCall, name, members)
	return body
}

func (c *modern) read(resp *http.Response) (int, string) {
	c.s.t.Helper()
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.s.t.Fatal(err)
	}
	text := strings.TrimSpace(string(body))
	if i := strings.LastIndex(text, "data: "); i >= 0 {
		text = text[i+len("data: "):]
	}
	return resp.StatusCode, text
}

// required is what a result that asks says.
type required struct {
	keys      []string
	questions map[string]string // by key: method and params
	state     string            // raw JSON string
}

// inputRequired reads a result that asks, and fails when it is none.
func inputRequired(t *testing.T, body string) required {
	t.Helper()
	var m struct {
		Result struct {
			ResultType    string
			InputRequests map[string]struct {
				Method string
				Params json.RawMessage
			}
			RequestState json.RawMessage
			TTLMs        *int
		}
	}
	if err := json.Unmarshal([]byte(body), &m); err != nil || m.Result.ResultType != "input_required" || m.Result.TTLMs != nil {
		t.Fatalf("not a result that asks: %v %s", err, body)
	}
	out := required{questions: map[string]string{}, state: string(m.Result.RequestState)}
	for key, q := range m.Result.InputRequests {
		out.keys = append(out.keys, key)
		out.questions[key] = q.Method + " " + string(q.Params)
	}
	return out
}

// again are the params of a call that is made again, with answers by key.
func (r required) again(arguments string, answers map[string]string) string {
	var all []string
	for key, a := range answers {
		all = append(all, string(mcp.AppendString(nil, key))+":"+a)
	}
	out := `"inputResponses":{` + strings.Join(all, ",") + `}`
	if r.state != "" {
		out += `,"requestState":` + r.state
	}
	if arguments != "" {
		out += `,"arguments":` + arguments
	}
	return out
}

// only is the answer to the only question.
func (r required) only(answer string) map[string]string {
	out := map[string]string{}
	for _, key := range r.keys {
		out[key] = answer
	}
	return out
}

func contains(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%s lacks %s: %.2000s", what, part, text)
		}
	}
}
