// Command extensions is a target with the fixtures that the official suite asks for of two extensions: tasks (SEP-2663) and
// skills (SEP-2640). No SDK has them yet, so this is a small server of the stateless era of its own. It trusts its client,
// which is Gatehouse, to send good headers.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
)

const (
	tasksExtension  = "io.modelcontextprotocol/tasks"
	skillsExtension = "io.modelcontextprotocol/skills"
)

type object = map[string]any

// call is one request.
type call struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params struct {
		Name           string            `json:"name"`
		URI            string            `json:"uri"`
		TaskID         string            `json:"taskId"`
		Cursor         string            `json:"cursor"`
		Arguments      map[string]any    `json:"arguments"`
		InputResponses map[string]object `json:"inputResponses"`
		RequestState   string            `json:"requestState"`
		Meta           struct {
			Client struct {
				Extensions map[string]any `json:"extensions"`
			} `json:"io.modelcontextprotocol/clientCapabilities"`
		} `json:"_meta"`
	} `json:"params"`
}

// declares reports whether the client knows tasks.
func (c *call) declares() bool {
	_, ok := c.Params.Meta.Client.Extensions[tasksExtension]
	return ok
}

// fault is a JSON-RPC error.
type fault struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Data    any    `json:"data,omitempty"`
}

const (
	methodNotFound    = -32601
	invalidParams     = -32602
	missingCapability = -32021
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address to listen on; port 0 takes any")
	flag.Parse()
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Fprintf(os.Stdout, "http://%s/mcp\n", l.Addr())
	s := &server{tasks: map[string]*task{}}
	log.Fatal(http.Serve(l, s))
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var c call
	if err := json.NewDecoder(r.Body).Decode(&c); err != nil || r.Method != http.MethodPost {
		http.Error(w, "not a request", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if c.ID == nil {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	result, said := s.answer(&c)
	answer := object{"jsonrpc": "2.0", "id": c.ID, "result": result}
	if said != nil {
		answer = object{"jsonrpc": "2.0", "id": c.ID, "error": said}
		w.WriteHeader(map[int]int{methodNotFound: http.StatusNotFound, missingCapability: http.StatusBadRequest, invalidParams: http.StatusOK}[said.Code])
	} else if result["resultType"] == nil {
		result["resultType"] = "complete"
	}
	_ = json.NewEncoder(w).Encode(answer)
}

// kept are the hints on lists and contents.
func kept(result object) object {
	result["ttlMs"], result["cacheScope"] = 60_000, "public"
	return result
}

func (s *server) answer(c *call) (object, *fault) {
	switch c.Method {
	case "server/discover":
		return kept(object{
			"supportedVersions": []string{"2026-07-28"},
			"capabilities": object{"tools": object{}, "resources": object{},
				"extensions": object{tasksExtension: object{}, skillsExtension: object{"directoryRead": true}}},
			"_meta": object{"io.modelcontextprotocol/serverInfo": object{"name": "extensions", "version": "1"}},
		}), nil
	case "tools/list":
		return kept(object{"tools": tools()}), nil
	case "tools/call":
		return s.callTool(c)
	case "tasks/get", "tasks/update", "tasks/cancel":
		return s.ofTask(c)
	case "resources/list":
		return kept(object{"resources": listed()}), nil
	case "resources/templates/list":
		return kept(object{"resourceTemplates": []any{}}), nil
	case "resources/read":
		return read(c.Params.URI)
	case "resources/directory/read":
		return children(c.Params.URI)
	case "skills/list":
		return skills(c.Params.Cursor)
	case "skills/get":
		return skill(c.Params.URI)
	}
	return nil, &fault{Code: methodNotFound, Message: "Method not found"}
}
