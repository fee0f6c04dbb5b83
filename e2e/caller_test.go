//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

// caller is a bare MCP client for what mcp-remote cannot do: many calls at once, forged tokens, reading the status.
type caller struct {
	t       *testing.T
	url     string
	session string
}

func newCaller(t *testing.T, url string) *caller { return &caller{t: t, url: url} }

// initialize opens a session and returns the status of the answer.
func (c *caller) initialize(token string) int {
	c.t.Helper()
	resp, _ := c.post(token, "initialize", initializeParams)
	c.session = resp.Header.Get("Mcp-Session-Id")
	return resp.StatusCode
}

// whoami calls the tool and returns the status, and whether the answer knows the person.
func (c *caller) whoami(token, subject string) (status int, known bool) {
	c.t.Helper()
	resp, body := c.post(token, "tools/call", map[string]any{"name": "demo___whoami", "arguments": map[string]any{}})
	return resp.StatusCode, strings.Contains(body, subject)
}

// post may be called on a goroutine of its own: it does not end the test.
func (c *caller) post(token, method string, params any) (*http.Response, string) {
	c.t.Helper()
	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	if err != nil {
		c.t.Errorf("encode %s: %v", method, err)
		return &http.Response{}, ""
	}
	req, err := http.NewRequest(http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		c.t.Errorf("make request: %v", err)
		return &http.Response{}, ""
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	req.Header.Set("Authorization", "Bearer "+token)
	if c.session != "" {
		req.Header.Set("Mcp-Session-Id", c.session)
		req.Header.Set("MCP-Protocol-Version", "2025-11-25")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Errorf("%s: %v", method, err)
		return &http.Response{}, ""
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Errorf("%s: read the answer: %v", method, err)
	}
	return resp, string(answer)
}
