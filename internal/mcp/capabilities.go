package mcp

import "cmp"

// Capabilities is what a server offers, of those things that a gateway relays (2025-11-25 basic/lifecycle).
type Capabilities struct {
	Tools, Prompts, Resources, Completions, Logging bool

	ToolsListChanged, PromptsListChanged, ResourcesListChanged, Subscribe bool

	Extensions   []Extension // sorted by name
	Experimental []Extension // the same of older servers
	Tasks        Tasks       // of 2025-11-25
}

// ParseCapabilities reads the capabilities member of an initialize result.
func ParseCapabilities(raw []byte) Capabilities {
	var c Capabilities
	var v []byte
	if v, c.Tools = lookupObject(raw, "tools"); c.Tools {
		c.ToolsListChanged = lookupTrue(v, "listChanged")
	}
	if v, c.Prompts = lookupObject(raw, "prompts"); c.Prompts {
		c.PromptsListChanged = lookupTrue(v, "listChanged")
	}
	if v, c.Resources = lookupObject(raw, "resources"); c.Resources {
		c.ResourcesListChanged = lookupTrue(v, "listChanged")
		c.Subscribe = lookupTrue(v, "subscribe")
	}
	_, c.Completions = lookupObject(raw, "completions")
	_, c.Logging = lookupObject(raw, "logging")
	v, _ = lookupObject(raw, "extensions")
	c.Extensions = extensions(v)
	v, _ = lookupObject(raw, "experimental")
	c.Experimental = extensions(v)
	c.Tasks = parseTasks(raw)
	return c
}

func lookupObject(raw []byte, name string) ([]byte, bool) {
	v, ok := Lookup(raw, name)
	return v, ok && len(v) > 0 && v[0] == '{'
}

func lookupTrue(raw []byte, name string) bool {
	v, _ := Lookup(raw, name)
	return string(v) == "true"
}

// Merge returns what is offered when at least one of two servers offers it.
func (c Capabilities) Merge(o Capabilities) Capabilities {
	return Capabilities{
		Tools:                c.Tools || o.Tools,
		Prompts:              c.Prompts || o.Prompts,
		Resources:            c.Resources || o.Resources,
		Completions:          c.Completions || o.Completions,
		Logging:              c.Logging || o.Logging,
		ToolsListChanged:     c.ToolsListChanged || o.ToolsListChanged,
		PromptsListChanged:   c.PromptsListChanged || o.PromptsListChanged,
		ResourcesListChanged: c.ResourcesListChanged || o.ResourcesListChanged,
		Subscribe:            c.Subscribe || o.Subscribe,
		Extensions:           mergeExtensions(c.Extensions, o.Extensions),
		Experimental:         mergeExtensions(c.Experimental, o.Experimental),
		Tasks:                c.Tasks.merge(o.Tasks),
	}
}

// AppendJSON writes the capabilities member of an initialize result, or that of server/discover, for a client of a
// revision.
func (c Capabilities) AppendJSON(dst []byte, r Revision) []byte {
	dst = append(dst, '{')
	object := func(name string, all []Extension) {
		if len(all) > 0 {
			if dst[len(dst)-1] != '{' {
				dst = append(dst, ',')
			}
			dst = appendExtensions(append(AppendString(dst, name), ':'), all)
		}
	}
	member := func(on bool, name string, flags ...string) {
		if !on {
			return
		}
		if dst[len(dst)-1] != '{' {
			dst = append(dst, ',')
		}
		dst = AppendString(dst, name)
		dst = append(dst, ':', '{')
		for _, f := range flags {
			if f == "" {
				continue
			}
			if dst[len(dst)-1] != '{' {
				dst = append(dst, ',')
			}
			dst = AppendString(dst, f)
			dst = append(dst, ":true"...)
		}
		dst = append(dst, '}')
	}
	flag := func(on bool, name string) string {
		if on {
			return name
		}
		return ""
	}
	member(c.Completions, "completions")
	object("experimental", c.Experimental)
	object("extensions", c.Extensions)
	member(c.Logging, "logging")
	member(c.Prompts, "prompts", flag(c.PromptsListChanged, "listChanged"))
	member(c.Resources, "resources", flag(c.ResourcesListChanged, "listChanged"), flag(c.Subscribe, "subscribe"))
	if r == Rev20251125 && c.Tasks != (Tasks{}) {
		if dst[len(dst)-1] != '{' {
			dst = append(dst, ',')
		}
		dst = c.Tasks.appendJSON(dst)
	}
	member(c.Tools, "tools", flag(c.ToolsListChanged, "listChanged"))
	return append(dst, '}')
}

// ClientCapabilities is what a client can be asked, of those things that a gateway relays to it.
type ClientCapabilities struct {
	Form, URL     bool // elicitation, by mode
	Sampling      bool
	SamplingTools bool // with tools for the model
	Roots         bool

	// Extensions are those that it declares and that are relayed, as an object of raw JSON in the order of their names; empty
	// when there are none.
	Extensions string
}

// ParseClientCapabilities reads the capabilities member of initialize params, or of the _meta of a request. Elicitation
// without a mode stands for forms (2025-11-25 client/elicitation, capabilities).
func ParseClientCapabilities(raw []byte) ClientCapabilities {
	var c ClientCapabilities
	if string(raw) == "{}" { // as of many clients
		return c
	}
	if v, ok := lookupObject(raw, "elicitation"); ok {
		_, c.Form = lookupObject(v, "form")
		_, c.URL = lookupObject(v, "url")
		c.Form = c.Form || !c.URL
	}
	if v, ok := lookupObject(raw, "sampling"); ok {
		c.Sampling = true
		_, c.SamplingTools = lookupObject(v, "tools")
	}
	_, c.Roots = lookupObject(raw, "roots")
	if v, ok := lookupObject(raw, "extensions"); ok {
		if all := extensions(v); len(all) > 0 {
			c.Extensions = string(appendExtensions(nil, all))
		}
	}
	return c
}

// Askable reports whether the client can be asked anything.
func (c ClientCapabilities) Askable() bool {
	c.Extensions = ""
	return c != ClientCapabilities{}
}

// Allows reports whether a server may send the client a request of this method with these params.
func (c ClientCapabilities) Allows(method string, params []byte) bool {
	needed, ok := NeededToAsk(method, params)
	return ok && c.Have(needed)
}

// Have reports whether everything in o is in c.
func (c ClientCapabilities) Have(o ClientCapabilities) bool { return c.Merge(o) == c }

// Merge returns what either can be asked.
func (c ClientCapabilities) Merge(o ClientCapabilities) ClientCapabilities {
	return ClientCapabilities{
		Form: c.Form || o.Form, URL: c.URL || o.URL, Sampling: c.Sampling || o.Sampling,
		SamplingTools: c.SamplingTools || o.SamplingTools, Roots: c.Roots || o.Roots, Extensions: cmp.Or(c.Extensions, o.Extensions),
	}
}

// NeededToAsk returns what a client must be able to do to be asked something; false for what clients are never asked.
func NeededToAsk(method string, params []byte) (ClientCapabilities, bool) {
	switch method {
	case MethodSampling:
		_, tools := Lookup(params, "tools")
		_, choice := Lookup(params, "toolChoice")
		return ClientCapabilities{Sampling: true, SamplingTools: tools || choice}, true
	case MethodElicit:
		mode, said := Lookup(params, "mode")
		switch {
		case !said || string(mode) == `"form"`:
			return ClientCapabilities{Form: true}, true
		case string(mode) == `"url"`:
			return ClientCapabilities{URL: true}, true
		}
	case MethodRootsList:
		return ClientCapabilities{Roots: true}, true
	}
	return ClientCapabilities{}, false
}

// AppendJSON writes the capabilities as a client declares them.
func (c ClientCapabilities) AppendJSON(dst []byte) []byte {
	dst = append(dst, '{')
	member := func(on bool, text string) {
		if !on {
			return
		}
		if dst[len(dst)-1] != '{' {
			dst = append(dst, ',')
		}
		dst = append(dst, text...)
	}
	member(c.Form && !c.URL, `"elicitation":{}`)
	member(c.Form && c.URL, `"elicitation":{"form":{},"url":{}}`)
	member(!c.Form && c.URL, `"elicitation":{"url":{}}`)
	member(c.Extensions != "", `"extensions":`+c.Extensions)
	member(c.Roots, `"roots":{}`)
	member(c.Sampling && !c.SamplingTools, `"sampling":{}`)
	member(c.SamplingTools, `"sampling":{"tools":{}}`)
	return append(dst, '}')
}

// RelayedClientCapabilities cuts a client's capabilities down to those that a gateway relays: sampling, elicitation and
// roots byte for byte, and extensions but for those between neighbours. It is never nil.
func RelayedClientCapabilities(raw []byte) []byte {
	if string(raw) == "{}" { // as of many clients
		return raw
	}
	dst := []byte{'{'}
	for _, name := range []string{"elicitation", "experimental", "extensions", "roots", "sampling"} {
		v, ok := lookupObject(raw, name)
		if !ok {
			continue
		}
		if name == "experimental" || name == "extensions" {
			all := extensions(v)
			if len(all) == 0 {
				continue
			}
			v = appendExtensions(nil, all)
		}
		if len(dst) > 1 {
			dst = append(dst, ',')
		}
		dst = AppendString(dst, name)
		dst = append(dst, ':')
		dst = append(dst, v...)
	}
	return append(dst, '}')
}
