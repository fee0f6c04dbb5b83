// Command everything is the target of the conformance job: an MCP server with the fixtures that the official suite asks
// for by name, built on the Go SDK. With -eras it serves sessions, the stateless era, or both at one URL, so that
// Gatehouse is tried in front of each.
//
// A fixture that asks the client something asks in the way of the era of the call: with a request of its own within a
// session, with an input_required result without one.
package main

import (
	gocontext "context"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address to listen on; port 0 takes any")
	eras := flag.String("eras", "both", "sessions, stateless or both; or sse, for sessions over the transport of 2024-11-05")
	flag.Parse()
	handler, err := serve(*eras)
	if err != nil {
		log.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(gocontext.Background(), "tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Fprintf(os.Stdout, "http://%s/mcp\n", l.Addr())
	log.Fatal(http.Serve(l, handler))
}

// stateless is the first revision of the stateless era.
const stateless = "2026-07-28"

// serve makes the handler. A handler of the SDK serves one era, so both eras are two handlers over one server, chosen
// by the header that every request of the stateless era has.
func serve(eras string) (http.Handler, error) {
	before := []string{"2025-11-25", "2025-06-18", "2025-03-26"}
	revisions := map[string][]string{"sessions": before, "stateless": {stateless}, "both": append([]string{stateless}, before...), "sse": {"2024-11-05"}}[eras]
	if revisions == nil {
		return nil, fmt.Errorf("-eras %s is none of sessions, stateless, both and sse", eras)
	}
	server := newServer(revisions)
	get := func(*http.Request) *mcp.Server { return server }
	if eras == "sse" {
		return mcp.NewSSEHandler(get, nil), nil
	}
	inSessions := mcp.NewStreamableHTTPHandler(get, &mcp.StreamableHTTPOptions{EventStore: mcp.NewMemoryEventStore(nil)})
	without := mcp.NewStreamableHTTPHandler(get, &mcp.StreamableHTTPOptions{Stateless: true, PropagateRequestCancellation: true})
	mux := http.NewServeMux()
	mux.HandleFunc("/mcp", func(w http.ResponseWriter, r *http.Request) {
		modern := r.Header.Get("Mcp-Protocol-Version") >= stateless
		switch {
		case eras == "stateless" && !modern:
			http.Error(w, "this server has no sessions", http.StatusBadRequest)
		case modern && eras != "sessions":
			without.ServeHTTP(w, r)
		default:
			inSessions.ServeHTTP(w, r)
		}
	})
	return mux, nil
}

func newServer(revisions []string) *mcp.Server {
	s := mcp.NewServer(&mcp.Implementation{Name: "everything", Version: "1.0.0"}, &mcp.ServerOptions{
		CompletionHandler:         complete,
		SubscribeHandler:          func(context, *mcp.SubscribeRequest) error { return nil },
		UnsubscribeHandler:        func(context, *mcp.UnsubscribeRequest) error { return nil },
		SupportedProtocolVersions: revisions,
	})
	addContent(s)
	addBehaviour(s)
	addQuestions(s)
	addInputs(s)
	addResources(s)
	addPrompts(s)
	return s
}
