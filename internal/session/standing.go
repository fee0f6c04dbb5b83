package session

import (
	"bytes"

	"gatehouse/internal/identity"
	"gatehouse/internal/mcp"
)

// Standing returns the session that serves a person's requests of the stateless era at an endpoint, of clients that can
// be asked the same things: an upstream server is told once what its client can be asked. No client holds its id. It
// exists for the sake of its upstream sessions: it begins with the first request, is in use until Release, and ends
// when nobody used it for a while.
func (t *Table) Standing(person identity.PersonKey, endpoint string, can mcp.ClientCapabilities) (*Session, error) {
	var room [512]byte // for what is looked up
	id, capabilities := appendStandingID(room[:0], person, endpoint, can)
	now := t.o.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.live[string(id)]; s != nil {
		t.hold(s, now)
		return s, nil
	}
	s := newSession(string(id), key{}, Facts{Person: person, Endpoint: endpoint, Client: Client{Revision: mcp.Rev20260728, Capabilities: bytes.Clone(capabilities)}}, now)
	s.standing = true
	if err := t.admit(s, now); err != nil {
		return nil, err
	}
	return s, nil
}

// appendStandingID writes an id, and returns what of it are the capabilities. It cannot meet a sealed id, nor stand in a
// header: it begins with a NUL byte. Capabilities are of a few fixed texts without one.
func appendStandingID(dst []byte, person identity.PersonKey, endpoint string, can mcp.ClientCapabilities) (id, capabilities []byte) {
	dst = append(append(dst, 0), person.Issuer...)
	dst = append(append(dst, 0), person.Subject...)
	dst = append(append(append(dst, 0), endpoint...), 0)
	at := len(dst)
	dst = can.AppendJSON(dst)
	return dst, dst[at:]
}

// Standing reports whether the session is one of Table.Standing.
func (s *Session) Standing() bool { return s.standing }
