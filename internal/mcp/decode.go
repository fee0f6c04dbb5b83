package mcp

import (
	"bytes"
	"strings"
)

// Kind says what a message is.
type Kind uint8

// The kinds of JSON-RPC messages.
const (
	KindRequest Kind = iota + 1
	KindNotification
	KindResponse
)

// ID is the raw JSON of a request id, a string or an integer, compared byte by byte. Null and absent are nil.
type ID []byte

// Limits bounds what Decode accepts.
type Limits struct {
	Depth int // nesting; 0 means DefaultDepth

	// LoneSurrogates accepts values with one half of a surrogate pair, which servers write when they cut a text in the middle
	// of an emoji. It is for answers of targets, on which nothing is decided.
	LoneSurrogates bool
}

// Message is one decoded JSON-RPC message. Its slices are parts of the decoded buffer: nothing is copied, so a message is valid
// only as long as that buffer is. What a gateway has no use for, such as the arguments of a tool, stays undecoded in Params.
type Message struct {
	Kind   Kind
	ID     ID
	Method string
	Raw    []byte // the whole message

	Params, Result, Error []byte // raw JSON, nil when absent; Outcome has more about Result

	Name          string // what the request is about, decoded: params.name, uri or taskId, or the name or uri of params.ref, as the method has it
	By            string // for methods of extensions: which member Name was read from, taskId, uri or name
	Ref           string // for completion/complete: the type of params.ref, RefPrompt or RefResource
	Meta          []byte // params._meta
	ProgressToken []byte // params._meta.progressToken, or params.progressToken of notifications/progress
	RequestID     []byte // params.requestId of notifications/cancelled

	InputResponses, RequestState []byte // params.inputResponses, params.requestState

	PerRequest // what a client of the stateless era says with each request

	at      places
	members resultPlaces
}

// PerRequest is what a client of the stateless era says with each request, in params._meta (2026-07-28 basic,
// per-request fields). It is raw JSON, nil when absent.
type PerRequest struct {
	Version, Capabilities, ClientInfo, LogLevel []byte
}

// span is where a value stands in a buffer; the zero span means absent. No message has more bytes than 31 bits can count.
type span struct{ start, end int32 }

func spanOf(start, end int) span { return span{int32(start), int32(end)} }

func (s span) of(b []byte) []byte {
	if s.end == 0 {
		return nil
	}
	return b[s.start:s.end]
}

// places says where in Params those values stand that a gateway may have to replace.
type places struct {
	name, progressToken, requestID, requestState, meta span

	keeps bool // _meta has more in it than PerRequest
}

// Decode reads one JSON-RPC 2.0 object. It is strict: one object and nothing after it, valid UTF-8, no key twice in
// any object, bounded depth, exact names in the envelope and in params. The error is safe to send back, with
// CodeParse for what is not JSON and CodeInvalidRequest for what is not a JSON-RPC message.
func Decode(buf []byte, lim Limits) (m Message, err error) {
	err = m.Decode(buf, lim)
	return m, err
}

// Decode does what the function Decode does, into a Message that exists already; a Message is a large struct, and expensive to
// copy. After an error m is empty.
func (m *Message) Decode(buf []byte, lim Limits) error {
	*m = Message{Raw: buf}
	d := decoder{}
	depth := lim.Depth
	if depth == 0 {
		depth = DefaultDepth
	}
	d.s.init(buf, depth)
	d.s.lone = lim.LoneSurrogates
	err := d.envelope(m)
	if err != nil {
		*m = Message{}
	}
	return err
}

// IsBatch reports whether buf holds an array, which only Batches revisions have.
func IsBatch(buf []byte) bool {
	for _, c := range buf {
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return c == '['
		}
	}
	return false
}

// DecodeBatch reads an array of one to most messages, each as strictly as Decode does (2025-03-26 basic, batching;
// JSON-RPC 2.0 §6). One that is wrong makes all of them wrong: nothing of such an array is to be executed.
func DecodeBatch(buf []byte, lim Limits, most int) ([]Message, error) {
	var d decoder
	d.s.init(buf, max(lim.Depth, DefaultDepth)+1)
	d.s.lone = lim.LoneSurrogates
	var all []Message
	var a list
	ok := d.s.elements(0)
	for ok && d.s.nextElement(&a) {
		if len(all) == most {
			return nil, Errorf(CodeInvalidRequest, "a batch holds at most %d messages", most)
		}
		var at span
		if ok = d.raw(&at, 1); !ok {
			break
		}
		m, err := Decode(at.of(buf), lim)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	switch {
	case !ok || !d.s.end():
		return nil, d.error()
	case len(all) == 0:
		return nil, Errorf(CodeInvalidRequest, "a batch holds at least one message")
	}
	return all, nil
}

// NewRequest makes a message of a method and its params, which are checked like those of a decoded message. It serves
// callers that have no message of a client at hand.
func NewRequest(method string, params []byte) (Message, error) {
	m := Message{Kind: KindRequest, Method: method, Params: params}
	if params == nil {
		return m, nil
	}
	d := decoder{}
	d.s.init(params, DefaultDepth)
	if d.s.peek() != '{' {
		return Message{}, Errorf(CodeInvalidRequest, "params must be an object")
	}
	var p paramPlaces
	if !d.params(&p) || !d.s.end() {
		return Message{}, d.error()
	}
	if err := d.confused(); err != nil {
		return Message{}, err
	}
	err := m.settle(&p, 0)
	return m, err
}

// decoder finds the members of a message while the scanner checks it, in one pass.
type decoder struct {
	s       scanner
	twisted string // a name of the protocol that came in another spelling; see alike
}

// error says why the scanner stopped.
func (d *decoder) error() error {
	switch {
	case bytes.HasPrefix(d.s.buf, []byte("\xef\xbb\xbf")):
		return Errorf(CodeParse, "not valid JSON: it begins with a byte order mark")
	case d.s.fault == "":
		return Errorf(CodeParse, "not valid JSON")
	}
	return Errorf(CodeParse, "not valid JSON at byte %d: %s", d.s.faultPos, d.s.fault)
}

// confused is the error for a name that came in another spelling: a more lenient parser behind Gatehouse would take it for that
// name, and so read another message than the one that was decided on.
func (d *decoder) confused() error {
	if d.twisted == "" {
		return nil
	}
	return Errorf(CodeInvalidRequest, "a member is spelt almost like %q; names must match exactly", d.twisted)
}

// raw checks a value and notes where it stands.
func (d *decoder) raw(at *span, depth int) bool {
	d.s.space()
	start := d.s.pos
	ok := d.s.value(depth)
	*at = spanOf(start, d.s.pos)
	return ok
}

// alike notes a key that a careless parser takes for one of names: another case, a character that folds to a letter
// of it (such as the Kelvin sign), a NUL before it, or one behind it, where some end the key and whatever follows.
func (d *decoder) alike(key []byte, names ...string) {
	key, _, _ = bytes.Cut(bytes.TrimLeft(key, "\x00"), []byte{0})
	for _, n := range names {
		if bytes.EqualFold(key, []byte(n)) {
			d.twisted = n
		}
	}
}

// paramPlaces is where the members of params stand that matter to a gateway.
type paramPlaces struct {
	whole                                            span
	name, uri, taskID, meta, metaToken, token, reqID span
	refType, refName, refURI                         span
	inputResponses, requestState                     span
	version, capabilities, info, level               span
	keeps                                            bool // see places
}

func (d *decoder) envelope(m *Message) error {
	if d.s.peek() == '[' {
		return Errorf(CodeInvalidRequest, "batches of messages are not part of this protocol revision; send one message at a time")
	}
	var version, id, method, result, errorAt span
	var p paramPlaces
	o, ok := d.s.object(0)
	for ok && d.s.next(&o) {
		switch string(o.key) {
		case "jsonrpc":
			ok = d.raw(&version, 1)
		case "id":
			ok = d.raw(&id, 1)
		case "method":
			ok = d.raw(&method, 1)
		case "params":
			d.s.space()
			start := d.s.pos
			ok = d.params(&p)
			p.whole = spanOf(start, d.s.pos)
		case "result":
			d.s.space()
			start := d.s.pos
			ok = d.result(&m.members, start, 1)
			result = spanOf(start, d.s.pos)
		case "error":
			ok = d.raw(&errorAt, 1)
		default:
			d.alike(o.key, "jsonrpc", "id", "method", "params", "result", "error")
			ok = d.s.value(1)
		}
	}
	if !ok || !d.s.end() {
		return d.error()
	}
	if err := d.confused(); err != nil {
		return err
	}
	if string(version.of(m.Raw)) != `"2.0"` {
		return Errorf(CodeInvalidRequest, `jsonrpc must be "2.0"`)
	}
	m.Params, m.Result, m.Error = p.whole.of(m.Raw), result.of(m.Raw), errorAt.of(m.Raw)
	if err := m.classify(method.of(m.Raw), id.of(m.Raw)); err != nil {
		return err
	}
	return m.settle(&p, p.whole.start)
}

// params checks the params of a message: an object whose known members are remembered, or anything else.
func (d *decoder) params(p *paramPlaces) bool {
	if d.s.peek() != '{' {
		return d.s.value(1)
	}
	o, ok := d.s.object(1)
	for ok && d.s.next(&o) {
		switch string(o.key) {
		case "name":
			ok = d.raw(&p.name, 2)
		case "uri":
			ok = d.raw(&p.uri, 2)
		case "taskId":
			ok = d.raw(&p.taskID, 2)
		case "progressToken":
			ok = d.raw(&p.token, 2)
		case "requestId":
			ok = d.raw(&p.reqID, 2)
		case "ref":
			ok = d.ref(p)
		case "_meta":
			ok = d.meta(p)
		case "requestState":
			ok = d.raw(&p.requestState, 2)
		case "inputResponses":
			ok = d.raw(&p.inputResponses, 2)
		case "arguments", "cursor":
			ok = d.s.value(2)
		default:
			d.alike(o.key, "name", "uri", "taskId", "progressToken", "requestId", "ref", "_meta", "arguments", "cursor", "requestState", "inputResponses")
			ok = d.s.value(2)
		}
	}
	return ok && d.s.fault == ""
}

func (d *decoder) ref(p *paramPlaces) bool {
	if d.s.peek() != '{' {
		return d.s.value(2)
	}
	o, ok := d.s.object(2)
	for ok && d.s.next(&o) {
		switch string(o.key) {
		case "type":
			ok = d.raw(&p.refType, 3)
		case "name":
			ok = d.raw(&p.refName, 3)
		case "uri":
			ok = d.raw(&p.refURI, 3)
		default:
			d.alike(o.key, "type", "name", "uri")
			ok = d.s.value(3)
		}
	}
	return ok && d.s.fault == ""
}

func (d *decoder) meta(p *paramPlaces) bool {
	if d.s.peek() != '{' {
		return d.raw(&p.meta, 2)
	}
	start := d.s.pos
	o, ok := d.s.object(2)
	for ok && d.s.next(&o) {
		switch string(o.key) {
		case "progressToken":
			p.keeps = true
			ok = d.raw(&p.metaToken, 3)
		case MetaVersion:
			ok = d.raw(&p.version, 3)
		case MetaCapabilities:
			ok = d.raw(&p.capabilities, 3)
		case MetaClientInfo:
			ok = d.raw(&p.info, 3)
		case MetaLogLevel:
			ok = d.raw(&p.level, 3)
		default:
			p.keeps = true
			d.alike(o.key, "progressToken", MetaVersion, MetaCapabilities, MetaClientInfo, MetaLogLevel)
			ok = d.s.value(3)
		}
	}
	p.meta = spanOf(start, d.s.pos)
	return ok && d.s.fault == ""
}

// classify sets kind, method and id, and refuses combinations that JSON-RPC 2.0 §4 and §5 do not know.
func (m *Message) classify(method, id []byte) error {
	if id != nil && string(id) != "null" {
		if id[0] != '"' {
			if _, ok := parseInt(id); !ok {
				return Errorf(CodeInvalidRequest, "id must be a string or an integer")
			}
		}
		m.ID = id
	}
	if method == nil {
		m.Kind = KindResponse
		switch {
		case (m.Result == nil) == (m.Error == nil):
			return Errorf(CodeInvalidRequest, "a message needs a method, or else exactly one of result and error")
		case m.Params != nil:
			return Errorf(CodeInvalidRequest, "a response has no params")
		case m.ID == nil && m.Error == nil:
			return Errorf(CodeInvalidRequest, "a result needs an id")
		}
		return nil
	}
	name, ok := DecodeString(method)
	switch {
	case !ok || name == "":
		return Errorf(CodeInvalidRequest, "method must be a string")
	case strings.IndexByte(name, 0) >= 0: // a careless server reads what stands before it
		return Errorf(CodeInvalidRequest, "method must hold no NUL")
	case m.Result != nil || m.Error != nil:
		return Errorf(CodeInvalidRequest, "a message has either a method or a result or error")
	case id != nil && m.ID == nil:
		return Errorf(CodeInvalidRequest, "id must be a string or an integer")
	case m.Params != nil && m.Params[0] != '{':
		return Errorf(CodeInvalidRequest, "params must be an object")
	}
	m.Method = name
	m.Kind = KindRequest
	if id == nil {
		m.Kind = KindNotification
	}
	return nil
}

// settle fills the fields of m from what was found in params. Which members count depends on the method. Base is where params
// begin in the scanned text.
func (m *Message) settle(p *paramPlaces, base int32) error {
	if m.Params == nil {
		return nil
	}
	rel := func(s span) span {
		if s.end == 0 {
			return s
		}
		return span{s.start - base, s.end - base}
	}
	m.at.meta, m.at.requestState = rel(p.meta), rel(p.requestState)
	m.Meta, m.RequestState = m.at.meta.of(m.Params), m.at.requestState.of(m.Params)
	m.InputResponses = rel(p.inputResponses).of(m.Params)
	m.PerRequest = PerRequest{
		Version: rel(p.version).of(m.Params), Capabilities: rel(p.capabilities).of(m.Params),
		ClientInfo: rel(p.info).of(m.Params), LogLevel: rel(p.level).of(m.Params),
	}
	m.at.progressToken, m.at.keeps = rel(p.metaToken), p.keeps
	switch m.Method {
	case MethodToolsCall, MethodPromptsGet:
		m.at.name = rel(p.name)
	case MethodResourcesRead, MethodSubscribe, MethodUnsubscribe, NoteResourceUpdated:
		m.at.name = rel(p.uri)
	case MethodComplete:
		m.at.name = rel(p.refName)
		m.Ref, _ = DecodeString(rel(p.refType).of(m.Params))
		if m.Ref == RefResource {
			m.at.name = rel(p.refURI)
		}
	case NoteProgress:
		m.at.progressToken = rel(p.token)
	case NoteCancelled:
		m.at.requestID = rel(p.reqID)
	case NoteTask, NoteTaskStatus:
		m.at.name = rel(p.taskID)
	default:
		m.settleOther(p, rel)
	}
	m.ProgressToken = m.at.progressToken.of(m.Params)
	m.RequestID = m.at.requestID.of(m.Params)
	if raw := m.at.name.of(m.Params); raw != nil {
		var ok bool
		if m.Name, ok = DecodeString(raw); !ok {
			return Errorf(CodeInvalidParams, "params: the name or URI must be a string")
		}
		if strings.IndexByte(m.Name, 0) >= 0 {
			return Errorf(CodeInvalidParams, "params: the name or URI must hold no NUL")
		}
	}
	return nil
}

// settleOther finds what a request of an extension names. A member that is no text names nothing.
func (m *Message) settleOther(p *paramPlaces, rel func(span) span) {
	if m.Kind != KindRequest || OwnMethod(m.Method) && m.Method != MethodTasksResult {
		return
	}
	for _, named := range []struct {
		by string
		at span
	}{{"taskId", p.taskID}, {"uri", p.uri}, {"name", p.name}} {
		at := rel(named.at)
		if name, ok := DecodeString(at.of(m.Params)); ok {
			m.By, m.Name, m.at.name = named.by, name, at
			return
		}
	}
}
