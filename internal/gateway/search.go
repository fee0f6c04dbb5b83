package gateway

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/mcp"
	"gatehouse/internal/policy"
	"gatehouse/internal/toolsearch"
)

// Search is how the tools of an endpoint are found by what somebody wants to do.
type Search struct {
	Only      bool     // tools/list shows the tools of this file, and Pinned; the others are there to be called
	Pinned    []string // by the names that clients see
	AgentCore bool     // the search goes by AgentCore's name too
	Limit     int      // hits, unless the client asks for another number; default 10
	Vectors   Embedder // nil: by words alone
}

// Embedder turns texts into vectors.
type Embedder interface {
	Texts(ctx context.Context, texts []string) ([][]float32, error)
	Query(ctx context.Context, text string) ([]float32, error)
}

// The names of the tools that Gatehouse has of its own.
const (
	searchTool     = "search_tools"
	agentCoreTool  = "x_amz_bedrock_agentcore_search" // the name of the same in Amazon Bedrock AgentCore
	defaultHits    = 10
	maxHits        = 50
	maxSearchQuery = 2000 // bytes
)

// ownTools are the tools that an endpoint has beside those of its targets.
func (s *Search) ownTools() []string {
	if s == nil {
		return nil
	}
	names := []string{searchTool}
	if s.AgentCore {
		names = append(names, agentCoreTool)
	}
	if s.Only {
		names = append(names, callReadOnly, callAny)
	}
	return names
}

// definition is a tool of our own as tools/list shows it.
func (s *Search) definition(name string) []byte {
	const (
		query  = `"query":{"type":"string","description":"What one step needs, in a few words, such as: create a calendar event"}`
		result = `"outputSchema":{"type":"object","properties":{"tools":{"type":"array","description":"Definitions, the best match first","items":{"type":"object"}}},"required":["tools"]}`
		quiet  = `"annotations":{"title":"Find tools","readOnlyHint":true,"idempotentHint":true,"openWorldHint":false}`
		call   = `"inputSchema":{"type":"object","properties":{"name":{"type":"string","description":"Name of the tool, as ` + searchTool + ` gave it"},"arguments":{"type":"object","description":"Its arguments, as its inputSchema has them"}},"required":["name"]}`
	)
	text := "Finds tools by what you want to do, and returns their full definitions, the best match first. Search once for each step of a task."
	if s.Only {
		text += " Most tools of this server are not in its list: find them here, then call them by name, or through " + callReadOnly + " and " + callAny + "."
	}
	quoted := string(mcp.AppendString(nil, text))
	switch name {
	case agentCoreTool:
		return []byte(`{"name":"` + agentCoreTool + `","description":` + quoted + `,"inputSchema":{"type":"object","properties":{` + query + `},"required":["query"]},` + result + `,` + quiet + `}`)
	case callAny:
		return []byte(`{"name":"` + callAny + `","description":"Calls a tool that is not in the list of tools. It may change things.",` + call + `,"annotations":{"title":"Call a tool"}}`)
	case callReadOnly:
		return []byte(`{"name":"` + callReadOnly + `","description":"Calls a tool that is not in the list of tools and only reads, by its annotation readOnlyHint.",` + call + `,"annotations":{"title":"Call a tool that only reads","readOnlyHint":true}}`)
	}
	return []byte(`{"name":"` + searchTool + `","description":` + quoted + `,"inputSchema":{"type":"object","properties":{` + query +
		`,"server":{"type":"string","description":"Search only tools of this server"},"limit":{"type":"integer","minimum":1,"maximum":` + strconv.Itoa(maxHits) +
		`,"description":"How many tools to return"}},"required":["query"]},` + result + `,` + quiet + `}`)
}

// addOwn puts our own tools at the beginning of the list, and takes the others out of it where that is wanted.
func (v *view) addOwn(s *Search) {
	if s == nil {
		return
	}
	l := v.lists[mcp.Tools]
	shown := make([]entry, 0, len(l.entries)+4)
	var rest []entry
	for _, name := range s.ownTools() {
		items, _, err := mcp.SplitList(append(append([]byte(`{"tools":[`), s.definition(name)...), "]}"...), mcp.Tools)
		if err != nil {
			continue // never: the definitions are ours
		}
		e := entry{name: name, item: items[0]}
		if name == agentCoreTool {
			e.name = searchTool // to the policy it is the same
		}
		shown = append(shown, e)
	}
	for _, e := range l.entries {
		if s.Only && !slices.Contains(s.Pinned, e.item.Name) {
			rest = append(rest, e)
		} else {
			shown = append(shown, e)
		}
	}
	l.entries, l.hidden = slices.Concat(shown, rest), len(rest)
	v.search = s
}

// callsOwn reports whether the request calls a search, and which.
func (rq *request) callsOwn() bool {
	return rq.m.Method == mcp.MethodToolsCall && rq.ep.Search != nil &&
		(rq.m.Name == searchTool || rq.m.Name == agentCoreTool && rq.ep.Search.AgentCore)
}

// search plans a call of the search: as any call, it is asked about, bounded and recorded.
func (rq *request) search() (job, error) {
	began := rq.g.o.Now()
	event := audit.Event{Kind: audit.KindCall, Method: rq.m.Method, Name: rq.m.Name, Decision: audit.Deny}
	d := rq.mayUseOwn(rq.m.Name)
	event.Reason = d.Reason
	rq.noted.Text("name", rq.m.Name)
	switch {
	case d.MissingScopes != nil:
		_ = rq.record(event)
		return nil, rq.stepUp(d)
	case !d.Allow:
		_ = rq.record(event)
		return rq.says(unknown(&rq.m)), nil
	}
	if err := rq.takePlace(); err != nil {
		return nil, err
	}
	return func() error {
		defer rq.leavePlace()
		result, outcome := rq.found()
		event.Decision, event.Outcome, event.Duration = audit.Allow, outcome, rq.g.o.Now().Sub(began)
		rq.noted.Text("outcome", outcome)
		_ = rq.record(event) // noted in the request's log record; the search has been made
		return rq.result(result)
	}, nil
}

// mayUseOwn asks the policy about a tool of our own. AgentCore's name is another name for the search.
func (rq *request) mayUseOwn(name string) policy.Decision {
	if name == agentCoreTool {
		name = searchTool
	}
	return rq.decide(mcp.MethodToolsCall, "", name, "")
}

// found makes the search, and returns the result of the call and the outcome for the record.
func (rq *request) found() (result []byte, outcome string) {
	q, limit, server, bad := rq.searchFor()
	if bad != "" {
		return rq.toolError(bad), "refused"
	}
	x := rq.ep.finder.wait(rq.r.Context(), rq.g.o.CatalogWait)
	if x == nil {
		return rq.toolError("The tools have not been looked at yet. Try again in a moment."), "not ready"
	}
	sees := rq.sees()
	query := toolsearch.Query{Text: q, Limit: limit, Allow: func(tool int) bool {
		return sees && (server == "" || x.entries[tool].target == server)
	}}
	if v := rq.ep.Search.Vectors; v != nil && x.vectors {
		query.Vector, _ = v.Query(rq.r.Context(), q) // without it the search goes by words; the embedder has logged why
	}
	var items []mcp.Item
	for _, tool := range x.index.Search(query) {
		items = append(items, x.entries[tool].as(rq.modern))
	}
	found := mcp.AppendList(nil, mcp.Tools, items, "")
	out := append([]byte(`{"content":[{"type":"text","text":`), mcp.AppendString(nil, string(found))...)
	out = append(append(append(out, `}],"structuredContent":`...), found...), '}')
	return rq.dressOwn(out), fmt.Sprintf("ok: %d found", len(items))
}

// searchFor reads the arguments; bad says what is wrong with them, for the model.
func (rq *request) searchFor() (query string, limit int, server, bad string) {
	limit = rq.ep.Search.Limit
	arguments, _ := mcp.Lookup(rq.m.Params, "arguments")
	query, _ = mcp.LookupString(arguments, "query")
	query = strings.TrimSpace(query)
	switch {
	case query == "":
		return "", 0, "", `The argument "query" is missing: say in a few words what you want to do.`
	case len(query) > maxSearchQuery:
		return "", 0, "", fmt.Sprintf(`The argument "query" is longer than %d bytes: a few words are enough.`, maxSearchQuery)
	case rq.m.Name == agentCoreTool:
		return query, limit, "", ""
	}
	if raw, ok := mcp.Lookup(arguments, "limit"); ok && string(raw) != "null" {
		n, err := strconv.Atoi(string(raw))
		if err != nil || n < 1 || n > maxHits {
			return "", 0, "", fmt.Sprintf(`The argument "limit" must be a whole number from 1 to %d.`, maxHits)
		}
		limit = n
	}
	if raw, ok := mcp.Lookup(arguments, "server"); ok && string(raw) != "null" {
		server, _ = mcp.LookupString(arguments, "server")
		if rq.ep.targets[server] == nil {
			return "", 0, "", `There is no server of that name here. Leave "server" out to search them all.`
		}
	}
	return query, limit, server, ""
}

// dressOwn gives a result of our own what the era of the client asks for.
func (rq *request) dressOwn(result []byte) []byte {
	if !rq.modern {
		return result
	}
	result = append(result[:len(result)-1], `,"resultType":"complete","_meta":{"`+mcp.MetaServerInfo+`":`...)
	return append(append(result, rq.g.serverInfo...), "}}"...)
}

// Index keeps the indexes of tools up to date until ctx is done, so that no search waits for one to be made.
func (g *Gateway) Index(ctx context.Context) error {
	for {
		again := time.Duration(0)
		for _, e := range g.current.Load().endpoints {
			if e.Search == nil {
				continue
			}
			if later := e.reindex(ctx, g.o.CatalogWait); later > 0 && (again == 0 || later < again) {
				again = later
			}
		}
		if !g.awaitNews(ctx, again) {
			return nil
		}
	}
}

// awaitNews waits until a list has changed, or the time is over if there is one, and reports false at the end.
func (g *Gateway) awaitNews(ctx context.Context, most time.Duration) bool {
	var over <-chan time.Time
	if most > 0 {
		timer := time.NewTimer(most)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-ctx.Done():
		return false
	case <-g.reindex:
	case <-over:
	}
	return true
}

// wakeIndex says that some list has changed.
func (g *Gateway) wakeIndex() {
	select {
	case g.reindex <- struct{}{}:
	default:
	}
}
