package session

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/mcp"
)

// Purpose is the seal purpose of session ids.
const Purpose = "session-id"

// key is the random part of an id: 128 bits.
type key [16]byte

// ticket is what a sealed session id says. Person and endpoint are not in it: they are the additional data of the seal,
// so that an id opens for nobody else and at no other endpoint.
type ticket struct {
	key          key
	created      time.Time
	capabilities [16]byte // digest of what the client declared
	revision     mcp.Revision
	owner        string // the copy that holds the live part
}

const (
	ticketVersion = 1
	ticketFixed   = 1 + 16 + 8 + 16 + 1
)

func newTicket(f Facts, owner string, now time.Time) ticket {
	t := ticket{created: now.Truncate(time.Second), revision: f.Revision, owner: owner}
	rand.Read(t.key[:]) // never fails: crypto/rand aborts the process instead
	digest := sha256.Sum256(f.Capabilities)
	copy(t.capabilities[:], digest[:])
	return t
}

func (t ticket) encode() []byte {
	b := make([]byte, 0, ticketFixed+len(t.revision)+len(t.owner))
	b = append(b, ticketVersion)
	b = append(b, t.key[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(t.created.Unix()))
	b = append(b, t.capabilities[:]...)
	b = append(b, byte(len(t.revision)))
	b = append(b, t.revision...)
	return append(b, t.owner...)
}

func decodeTicket(b []byte) (ticket, bool) {
	var t ticket
	if len(b) < ticketFixed || b[0] != ticketVersion {
		return t, false
	}
	b = b[1:]
	b = b[copy(t.key[:], b):]
	t.created = time.Unix(int64(binary.BigEndian.Uint64(b)), 0)
	b = b[8:]
	b = b[copy(t.capabilities[:], b):]
	n := int(b[0])
	if b = b[1:]; n > len(b) {
		return t, false
	}
	t.revision, t.owner = mcp.Revision(b[:n]), string(b[n:])
	return t, true
}

// boundTo is the additional data of the seal. PersonKey.String has one NUL byte, a path none: no two pairs meet.
func boundTo(p identity.PersonKey, endpoint string) []byte {
	return []byte(p.String() + "\x00" + endpoint)
}
