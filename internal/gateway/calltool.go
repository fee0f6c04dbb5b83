package gateway

import "gatehouse/internal/mcp"

// Models call what is in their list of tools. Where the list shows the search only, these two stand for all the others.
// There are two of them, so that a person who lets a client read without asking has not let it do everything.
const (
	callAny      = "call_tool"
	callReadOnly = "call_read_only_tool"
)

// notReadOnly is what call_read_only_tool says of other tools.
const notReadOnly = "This tool does not say that it only reads. Use " + callAny + ", which asks the person if need be."

// viaCaller turns a call of call_tool into the call that it asks for, which then goes through the same steps as any
// other: name, policy, record and bounds are those of the tool itself. When there is no such call it returns what
// answers.
func (rq *request) viaCaller() (answer func() error) {
	if rq.m.Method != mcp.MethodToolsCall || !rq.ep.Search.Only || rq.m.Name != callAny && rq.m.Name != callReadOnly {
		return nil
	}
	wrong := func(text string) func() error {
		return func() error { return rq.result(rq.toolError(text)) }
	}
	caller := rq.m.Name
	arguments, _ := mcp.Lookup(rq.m.Params, "arguments")
	name, ok := mcp.LookupString(arguments, "name")
	if !ok || name == callAny || name == callReadOnly {
		return wrong(`The argument "name" must be the name of a tool, as ` + searchTool + ` gave it.`)
	}
	inner, ok := mcp.Lookup(arguments, "arguments")
	if !ok || string(inner) == "null" {
		inner = []byte("{}")
	}
	if inner[0] != '{' {
		return wrong(`The argument "arguments" must be an object.`)
	}
	more := append(mcp.AppendString([]byte(`"name":`), name), `,"arguments":`...)
	params := mcp.AppendMembers(nil, rq.m.Params, mcp.Change{
		Drop: func(key []byte) bool { return string(key) == "name" || string(key) == "arguments" }, More: append(more, inner...),
	})
	own, err := mcp.NewRequest(rq.m.Method, params)
	if err != nil {
		return wrong("This call cannot be made: " + err.Error())
	}
	own.ID, own.Raw = rq.m.ID, rq.m.Raw
	rq.m, rq.called = own, caller
	return nil
}

// onlyReads reports whether the call may go through call_read_only_tool, if it came through that.
func (rq *request) onlyReads(to route) bool {
	return rq.called != callReadOnly || to.to.ReadsOnly(to.name)
}
