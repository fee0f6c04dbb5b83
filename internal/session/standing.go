package session

import (
	"gatehouse/internal/identity"
	"gatehouse/internal/mcp"
)

// Standing returns the session that serves all of a person's requests of the stateless era at an endpoint. No client
// holds its id. It exists for the sake of its upstream sessions: it begins with the first request, is in use until
// Release, and ends when nobody used it for a while.
func (t *Table) Standing(person identity.PersonKey, endpoint string) (*Session, error) {
	id := standingID(person, endpoint)
	now := t.o.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.live[id]; s != nil {
		t.hold(s, now)
		return s, nil
	}
	s := newSession(id, key{}, Facts{Person: person, Endpoint: endpoint, Client: Client{Revision: mcp.Rev20260728}}, now)
	s.standing = true
	if err := t.admit(s, now); err != nil {
		return nil, err
	}
	return s, nil
}

// standingID cannot meet a sealed id, nor stand in a header: it begins with a NUL byte.
func standingID(person identity.PersonKey, endpoint string) string {
	return "\x00" + person.String() + "\x00" + endpoint
}

// Standing reports whether the session is one of Table.Standing.
func (s *Session) Standing() bool { return s.standing }
