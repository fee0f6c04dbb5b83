package session

import (
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/internal/mcp"
)

// Bounds of the finished answers that one session keeps for a client that lost its connection.
const (
	heldAnswers = 8
	heldBytes   = 256 << 10 // an answer with more is not kept
	heldFor     = 2 * time.Minute
)

// An event id is four parts joined by dots: the beginning of the session's key, so that ids of an earlier session are
// not mistaken for ours; the number of the stream; the request id that the stream answers; the sequence number. The
// request id lets us tell a client which answer is lost when the stream is no longer held.
func (s *Session) tag(no uint64, id mcp.ID) string {
	return hex.EncodeToString(s.key[:4]) + "." + strconv.FormatUint(no, 10) + "." + base64.RawURLEncoding.EncodeToString(id) + "."
}

// Standalone is the stream for what belongs to no call of the client.
func (s *Session) Standalone() *Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.streams[0]
}

// OpenStream begins the stream that answers the client's request id.
func (s *Session) OpenStream(id mcp.ID) *Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastNo++
	st := &Stream{no: s.lastNo, tag: s.tag(s.lastNo, id)}
	s.streams[st.no] = st
	return st
}

// CloseStream ends a stream that OpenStream began. When the client did not get it all, it is kept for a while if that
// is cheap.
func (s *Session) CloseStream(st *Stream, delivered bool, now time.Time) {
	size := st.finish(now.Add(heldFor))
	s.mu.Lock()
	defer s.mu.Unlock()
	if delivered || size > heldBytes {
		delete(s.streams, st.no)
		return
	}
	s.dropSurplus()
}

// dropSurplus forgets the oldest finished answers beyond the bound. It needs s.mu.
func (s *Session) dropSurplus() {
	var held []uint64
	for no, st := range s.streams {
		if st.over(farFuture) {
			held = append(held, no)
		}
	}
	slices.Sort(held)
	for len(held) > heldAnswers {
		delete(s.streams, held[0])
		held = held[1:]
	}
}

// farFuture is later than any time until which a stream is held.
var farFuture = time.Unix(1<<40, 0)

// dropOldStreams forgets answers that nobody came back for.
func (s *Session) dropOldStreams(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for no, st := range s.streams {
		if st.over(now) {
			delete(s.streams, no)
		}
	}
}

// Resumption is what is left of a stream that a client wants to go on with.
type Resumption struct {
	Reader     *Reader // nil when the stream is no longer held
	Standalone bool
	Lost       mcp.ID // the request whose answer is gone
}

// Resume finds the stream of a Last-Event-ID. It reports false for an id that this session never gave out.
func (s *Session) Resume(eventID string) (Resumption, bool) {
	parts := strings.Split(eventID, ".")
	if len(parts) != 4 || parts[0] != hex.EncodeToString(s.key[:4]) {
		return Resumption{}, false
	}
	no, err1 := strconv.ParseUint(parts[1], 10, 64)
	id, err2 := base64.RawURLEncoding.DecodeString(parts[2])
	seq, err3 := strconv.ParseUint(parts[3], 10, 64)
	if err1 != nil || err2 != nil || err3 != nil {
		return Resumption{}, false
	}
	s.mu.Lock()
	st, held := s.streams[no], no <= s.lastNo
	s.mu.Unlock()
	switch {
	case st != nil && st.tag == strings.TrimSuffix(eventID, parts[3]):
		return Resumption{Reader: st.readAfter(seq), Standalone: no == 0}, true
	case st == nil && held && isID(id):
		return Resumption{Lost: id}, true
	}
	return Resumption{}, false
}

// isID reports whether raw can be a request id. It came back from the client, which may have changed it.
func isID(raw []byte) bool {
	m, err := mcp.Decode(mcp.AppendResult(nil, raw, nil), mcp.Limits{})
	return err == nil && string(m.ID) == string(raw)
}
