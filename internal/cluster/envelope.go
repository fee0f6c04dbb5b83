package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"

	"github.com/go-json-experiment/json"

	"gatehouse/internal/identity"
)

// Request is a request of a client for the copy that owns what it is about.
type Request struct {
	Owner     string              // which copy, as Copies.Self of it says
	Principal *identity.Principal // who is asking, verified
	Endpoint  string              // path
	Method    string              // of HTTP
	Query     string              // raw
	Header    http.Header         // of the client; only what carried allows goes over
	Body      []byte
	ID        string     // of the request, for the log
	Client    netip.Addr // where it came from
}

// carried reports whether a header of the client goes to the owner. Everything else stays, the token first of all.
func carried(name string) bool {
	switch name {
	case "Accept", "Content-Type", "Last-Event-Id":
		return true
	}
	return strings.HasPrefix(name, "Mcp-")
}

// envelope is what stands before the body of a request on its way, in JSON after its length in four bytes.
type envelope struct {
	Owner     string
	Principal *identity.Principal
	Endpoint  string
	Method    string
	Query     string
	Header    map[string][]string
	ID        string
	Client    netip.Addr
}

// maxEnvelope bounds the envelope: the claims of a person, and headers.
const maxEnvelope = 1 << 20

// encode writes envelope and body.
func (q *Request) encode() ([]byte, error) {
	e := envelope{
		Owner: q.Owner, Principal: q.Principal, Endpoint: q.Endpoint, Method: q.Method, Query: q.Query, ID: q.ID, Client: q.Client,
		Header: map[string][]string{},
	}
	for name, values := range q.Header {
		if carried(name) {
			e.Header[name] = values
		}
	}
	head, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("write the envelope: %w", err)
	}
	if len(head) > maxEnvelope {
		return nil, fmt.Errorf("the envelope has %d bytes, more than %d", len(head), maxEnvelope)
	}
	dst := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(head)+len(q.Body)), uint32(len(head)))
	return append(append(dst, head...), q.Body...), nil
}

var errEnvelope = errors.New("not an envelope")

// readEnvelope reads what encode wrote, up to the body.
func readEnvelope(r io.Reader) (*envelope, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, errEnvelope
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > maxEnvelope {
		return nil, errEnvelope
	}
	head := make([]byte, n)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, errEnvelope
	}
	e := &envelope{}
	if err := json.Unmarshal(head, e, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("%w: %w", errEnvelope, err)
	}
	if e.Principal == nil || e.Principal.Key.Issuer == "" || e.Principal.Key.Subject == "" || !strings.HasPrefix(e.Endpoint, "/") || e.Method == "" {
		return nil, errEnvelope
	}
	for name := range e.Header {
		if !carried(name) {
			return nil, errEnvelope
		}
	}
	return e, nil
}
