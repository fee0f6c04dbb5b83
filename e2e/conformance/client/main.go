// Command client is what the conformance suite runs to look at Gatehouse's upstream side: it is called with the URL of a
// server that the suite has started, and uses that server as a gateway uses a target, with the code of
// internal/target and internal/upauth. What a person does in a browser or a form, it does by itself.
package main

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/mcp"
	"gatehouse/internal/target"
	"gatehouse/internal/web"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: client URL, with MCP_CONFORMANCE_SCENARIO in the environment")
		os.Exit(2)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Second)
	err := run(ctx, os.Args[1], os.Getenv("MCP_CONFORMANCE_SCENARIO"))
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// settings are what a scenario gives its client (MCP_CONFORMANCE_CONTEXT).
type settings struct {
	ClientID      string `json:"client_id"`
	ClientSecret  string `json:"client_secret"`
	PrivateKey    string `json:"private_key_pem"`
	Algorithm     string `json:"signing_algorithm"`
	IDPClientID   string `json:"idp_client_id"`
	IDPToken      string `json:"idp_id_token"`
	IDPIssuer     string `json:"idp_issuer"`
	TokenEndpoint string `json:"idp_token_endpoint"`
	WorkloadJWT   string `json:"valid_jwt"`
	ToolCalls     []struct {
		Name      string          `json:"name"`
		Arguments json.RawMessage `json:"arguments"`
	} `json:"toolCalls"`
}

func readSettings() (settings, error) {
	var s settings
	raw := os.Getenv("MCP_CONFORMANCE_CONTEXT")
	if raw == "" {
		return s, nil
	}
	err := json.Unmarshal([]byte(raw), &s)
	return s, err
}

// run uses the server once: it reads what there is, and tries all of it.
func run(ctx context.Context, url, scenario string) error {
	given, err := readSettings()
	if err != nil {
		return fmt.Errorf("read MCP_CONFORMANCE_CONTEXT: %w", err)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	client := web.NewTargetClient(web.ClientOptions{})
	if strings.HasPrefix(scenario, "auth/") {
		source, err := newSource(url, scenario, given, log)
		if err != nil {
			return err
		}
		client = &http.Client{Transport: source.Transport(client.Transport)}
	}
	t, err := target.New(target.Options{Name: "suite", HTTP: &target.HTTPOptions{URL: url}, Client: client, Log: log, Version: "conformance", Timeout: 20 * time.Second})
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- t.Run(running) }()
	err = use(ctx, t, given)
	stop()
	return errors.Join(err, <-done)
}

// use is a client's visit.
func use(ctx context.Context, t *target.Target, given settings) error {
	catalog, err := t.Catalog(ctx)
	if err != nil {
		return fmt.Errorf("read the catalogue: %w", err)
	}
	c, err := t.Connect(ctx, target.Caller{
		Principal:    &identity.Principal{Key: identity.PersonKey{Issuer: "https://people.example", Subject: "ada"}, Client: "suite"},
		ClientInfo:   []byte(`{"name":"conformance","version":"1"}`),
		Capabilities: []byte(`{"roots":{},"sampling":{},"elicitation":{"form":{}}}`),
		Revision:     mcp.Rev20251125,
	}, person{})
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer c.Close()
	var failed []error
	call := func(method string, params any) {
		raw, err := json.Marshal(params)
		if err == nil {
			_, err = c.Call(ctx, method, raw, nil)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%s %s: %w", method, raw, err))
		}
	}
	if len(catalog.Tools) == 0 {
		call(mcp.MethodToolsList, struct{}{})
	}
	for _, tool := range catalog.Tools {
		for _, arguments := range argumentsFor(tool, catalog.Tools, given) {
			call(mcp.MethodToolsCall, map[string]any{"name": tool.Name, "arguments": arguments})
		}
	}
	for _, prompt := range catalog.Prompts {
		call(mcp.MethodPromptsGet, map[string]any{"name": prompt.Name})
	}
	for _, resource := range catalog.Resources {
		call(mcp.MethodResourcesRead, map[string]any{"uri": resource.Name})
	}
	return errors.Join(failed...)
}

// argumentsFor returns the arguments of each call of a tool: as the scenario wants them, else some for what is required. A
// tool that wants a schema gets that of the first tool, as it came.
func argumentsFor(tool mcp.Item, tools []mcp.Item, given settings) (all []json.RawMessage) {
	for _, c := range given.ToolCalls {
		if c.Name == tool.Name {
			all = append(all, c.Arguments)
		}
	}
	if all != nil {
		return all
	}
	var described struct {
		Schema struct {
			Properties map[string]struct {
				Type string `json:"type"`
			} `json:"properties"`
			Required []string `json:"required"`
		} `json:"inputSchema"`
	}
	_ = json.Unmarshal(tool.Raw, &described) // a schema that cannot be read like this wants nothing
	arguments := map[string]any{}
	for i, name := range described.Schema.Required {
		arguments[name] = valueOf(described.Schema.Properties[name].Type, nil, i)
		if first, ok := mcp.Lookup(tools[0].Raw, "inputSchema"); ok && name == "schema" {
			arguments[name] = json.RawMessage(first)
		}
	}
	raw, _ := json.Marshal(arguments)
	return []json.RawMessage{raw}
}

// valueOf returns the default of a property, or something of its type.
func valueOf(kind string, byDefault json.RawMessage, n int) any {
	switch {
	case byDefault != nil:
		return byDefault
	case kind == "number" || kind == "integer":
		return n + 2
	case kind == "boolean":
		return true
	}
	return "text"
}

// person answers what a server asks, as somebody who agrees to everything.
type person struct{}

func (person) Notify(*mcp.Message) {}

func (person) Refused(context.Context, *mcp.Message) {}

func (person) Request(_ context.Context, m *mcp.Message) ([]byte, *mcp.Error) {
	switch m.Method {
	case mcp.MethodElicit:
		return fillIn(m.Params), nil
	case mcp.MethodRootsList:
		return []byte(`{"roots":[]}`), nil
	}
	return nil, mcp.Errorf(mcp.CodeMethodNotFound, "nobody is here for %s", m.Method)
}

// fillIn accepts a form with its defaults.
func fillIn(params []byte) []byte {
	var form struct {
		Schema struct {
			Properties map[string]struct {
				Type    string          `json:"type"`
				Default json.RawMessage `json:"default"`
			} `json:"properties"`
		} `json:"requestedSchema"`
	}
	_ = json.Unmarshal(params, &form) // what cannot be read is left empty
	content := map[string]any{}
	for name, p := range form.Schema.Properties {
		content[name] = valueOf(p.Type, p.Default, 0)
	}
	answer, _ := json.Marshal(map[string]any{"action": "accept", "content": content})
	return answer
}

// signerOf reads a private key.
func signerOf(text string) (crypto.Signer, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("private_key_pem is not PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read private_key_pem: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("private_key_pem holds a %T", key)
	}
	return signer, nil
}
