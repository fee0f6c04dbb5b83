package config

import (
	"fmt"
	"net/url"
	"time"

	"gatehouse/internal/loopback"
)

// search checks how the tools of an endpoint are found.
func (k *checker) search(path string, e *Endpoint) {
	s := e.Search
	if s.Limit < 1 || s.Limit > 50 {
		k.bad(path+".limit", "is not a number from 1 to 50", "Give 10, or leave it out.")
	}
	if len(s.Pinned) > 0 && s.List != ListSearch {
		k.doubtful(path+".pinned", "means nothing, because all tools are listed", "Add list: search, or remove it.")
	}
	for i, name := range s.Pinned {
		if !k.cfg.hasToolName(e, name) {
			k.bad(fmt.Sprintf("%s.pinned[%d]", path, i), "is not the name of a tool here", "Write the name as clients see it: target___tool, or with the prefix of its target.")
		}
	}
	if s.Embeddings && k.cfg.Embeddings == nil {
		k.bad(path+".embeddings", "has nowhere to ask", "Add embeddings with url and model at the top of the file, or remove it.")
	}
}

// embeddings checks where vectors come from.
func (k *checker) embeddings() {
	e := k.cfg.Embeddings
	if e == nil {
		return
	}
	u, err := url.Parse(e.URL)
	switch {
	case e.URL == "": // said already
	case err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		k.bad("embeddings.url", "is not a URL", "Write the address of the API: https://api.openai.com/v1")
	case u.User != nil:
		k.bad("embeddings.url", "has a user name or password in it", "Use api_key.")
	case u.Scheme == "http" && !loopback.Is(u.Hostname()):
		k.doubtful("embeddings.url", "is plain http to another machine: what people search for can be read on the way", "Use https where the server has it.")
	}
	if e.Dimensions < 0 || e.Dimensions > 1<<14 {
		k.bad("embeddings.dimensions", "is not a number from 1 to 16384", "Give what the model offers, or leave it out.")
	}
	k.atLeast("embeddings.timeout", e.Timeout, 10*time.Millisecond)
	k.notAbove("embeddings.timeout", e.Timeout, "ten seconds", 10*time.Second)
}
