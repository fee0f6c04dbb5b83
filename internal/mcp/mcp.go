// Package mcp owns the words of the Model Context Protocol on the wire: the JSON-RPC envelope with a strict
// single-pass decoder that finds what a gateway must know and leaves every other byte alone, writers for envelopes,
// the framing of server-sent events, list results, names with a target's prefix, revisions, capabilities and error
// codes. It knows neither HTTP nor sessions, and it never turns arguments or results into Go values.
//
// Sources: the MCP specification, revisions 2024-11-05 to 2026-07-28; JSON-RPC 2.0; RFC 8259 (JSON); the
// server-sent events chapter of the HTML standard.
package mcp

// Revision is a version of the protocol, as it stands in protocolVersion.
type Revision string

// The revisions that exist.
const (
	Rev20241105 Revision = "2024-11-05"
	Rev20250326 Revision = "2025-03-26"
	Rev20250618 Revision = "2025-06-18"
	Rev20251125 Revision = "2025-11-25"
	Rev20260728 Revision = "2026-07-28"
)

// Latest is the newest revision of the session era, offered to upstream servers.
const Latest = Rev20251125

// SessionRevisions lists the revisions that sessions are served in, newest first.
func SessionRevisions() []Revision {
	return []Revision{Rev20251125, Rev20250618, Rev20250326, Rev20241105}
}

// Negotiate answers a client's initialize: the revision that was asked for when it is served, else the newest one
// (2025-11-25 basic/lifecycle, version negotiation).
func Negotiate(asked Revision) Revision {
	if SessionEra(asked) {
		return asked
	}
	return Latest
}

// Batches reports whether several messages may come in one array (2025-03-26 basic/transports).
func Batches(r Revision) bool { return r == Rev20250326 }

// Stateless reports whether r is a revision of the stateless era, served here or not.
func Stateless(r Revision) bool { return r >= Rev20260728 && isDate(r) }

// SessionEra reports whether r is a revision of the session era.
func SessionEra(r Revision) bool {
	return r == Rev20241105 || r == Rev20250326 || r == Rev20250618 || r == Rev20251125
}

func isDate(r Revision) bool {
	if len(r) != len(Rev20260728) {
		return false
	}
	for i, c := range []byte(r) {
		if dash := i == 4 || i == 7; dash != (c == '-') || !dash && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// EveryRevision lists the revisions of both eras that clients are served in, newest first.
func EveryRevision() []Revision { return append([]Revision{Rev20260728}, SessionRevisions()...) }

// The methods and notifications of the stateless era that the session era does not have.
const (
	MethodDiscover   = "server/discover"
	MethodListen     = "subscriptions/listen"
	NoteAcknowledged = "notifications/subscriptions/acknowledged"
)

// The members of _meta that belong to the protocol (2026-07-28 basic, per-request fields).
const (
	MetaVersion      = "io.modelcontextprotocol/protocolVersion"
	MetaCapabilities = "io.modelcontextprotocol/clientCapabilities"
	MetaClientInfo   = "io.modelcontextprotocol/clientInfo"
	MetaLogLevel     = "io.modelcontextprotocol/logLevel"
	MetaServerInfo   = "io.modelcontextprotocol/serverInfo"
	MetaSubscription = "io.modelcontextprotocol/subscriptionId"
)

// Methods of the session era.
const (
	MethodInitialize        = "initialize"
	MethodPing              = "ping"
	MethodToolsList         = "tools/list"
	MethodToolsCall         = "tools/call"
	MethodPromptsList       = "prompts/list"
	MethodPromptsGet        = "prompts/get"
	MethodResourcesList     = "resources/list"
	MethodTemplatesList     = "resources/templates/list"
	MethodResourcesRead     = "resources/read"
	MethodSubscribe         = "resources/subscribe"
	MethodUnsubscribe       = "resources/unsubscribe"
	MethodComplete          = "completion/complete"
	MethodSetLevel          = "logging/setLevel"
	MethodSampling          = "sampling/createMessage"
	MethodElicit            = "elicitation/create"
	MethodRootsList         = "roots/list"
	NoteInitialized         = "notifications/initialized"
	NoteCancelled           = "notifications/cancelled"
	NoteProgress            = "notifications/progress"
	NoteMessage             = "notifications/message"
	NoteToolsChanged        = "notifications/tools/list_changed"
	NotePromptsChanged      = "notifications/prompts/list_changed"
	NoteResourcesChanged    = "notifications/resources/list_changed"
	NoteResourceUpdated     = "notifications/resources/updated"
	NoteRootsChanged        = "notifications/roots/list_changed"
	NoteElicitationComplete = "notifications/elicitation/complete"
)

// What completion/complete refers to: the type member of its ref.
const (
	RefPrompt   = "ref/prompt"
	RefResource = "ref/resource"
)

// intern returns b as a string, without an allocation for the words that requests have all the time.
func intern(b []byte) string {
	switch string(b) {
	case string(Rev20260728):
		return string(Rev20260728)
	case ResultComplete:
		return ResultComplete
	case MethodToolsCall:
		return MethodToolsCall
	case MethodToolsList:
		return MethodToolsList
	case MethodPing:
		return MethodPing
	case MethodInitialize:
		return MethodInitialize
	case MethodPromptsGet:
		return MethodPromptsGet
	case MethodResourcesRead:
		return MethodResourcesRead
	case MethodComplete:
		return MethodComplete
	case NoteProgress:
		return NoteProgress
	case NoteMessage:
		return NoteMessage
	case NoteCancelled:
		return NoteCancelled
	}
	return string(b)
}
