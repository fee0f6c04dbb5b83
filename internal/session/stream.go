package session

import (
	"bytes"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Bounds of what a stream keeps for a client that comes back with Last-Event-ID, and for one that never listened so far
// and may never do: most do not.
const (
	ringEvents    = 256
	ringBytes     = 256 << 10
	unheardEvents = 32
	unheardBytes  = 16 << 10
)

// Event is one message on a stream.
type Event struct {
	ID   string
	Data []byte
}

// Stream is one outgoing stream of a session: the standalone one (GET) or the answer to one POST. Events get ids in
// order and stay in a bounded ring; at most one reader at a time takes them out. It is safe for concurrent use.
type Stream struct {
	no  uint64
	tag string // event ids are tag and sequence number

	// mu guards what follows.
	mu       sync.Mutex
	ring     [][]byte // ends with the event that has sequence number last
	bytes    int
	last     uint64
	taken    uint64 // last event that a reader took
	heard    bool   // there has been a reader
	finished bool
	until    time.Time // a finished stream is forgotten then
	reader   *Reader
}

// Send appends an event, pushing old ones out of a full ring. The stream keeps data: nobody may change it afterwards.
func (st *Stream) Send(data []byte) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.append(data)
}

// SendOnce is Send for an event that says no more when it is said twice: one that nobody took yet is enough.
func (st *Stream) SendOnce(data []byte) {
	st.mu.Lock()
	defer st.mu.Unlock()
	waiting := st.ring[len(st.ring)-int(min(st.last-st.taken, uint64(len(st.ring)))):]
	if !slices.ContainsFunc(waiting, func(event []byte) bool { return bytes.Equal(event, data) }) {
		st.append(data)
	}
}

// append needs st.mu.
func (st *Stream) append(data []byte) {
	events, size := ringEvents, ringBytes
	if st.no == 0 && !st.heard {
		events, size = unheardEvents, unheardBytes
	}
	if st.finished || st.no == 0 && st.reader == nil && len(data) > size {
		return // too large to wait for a client that may never listen
	}
	st.ring = append(st.ring, data)
	st.bytes += len(data)
	st.last++
	for len(st.ring) > events || st.bytes > size && len(st.ring) > 1 {
		st.bytes -= len(st.ring[0])
		st.ring[0] = nil
		st.ring = st.ring[1:]
	}
	st.wake()
}

// finish ends the stream: its reader takes what is left. It returns how many bytes the ring holds.
func (st *Stream) finish(until time.Time) int {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.finished, st.until = true, until
	st.wake()
	return st.bytes
}

// over reports whether a finished stream is to be forgotten.
func (st *Stream) over(now time.Time) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.finished && now.After(st.until)
}

// Read makes a reader of the events that nobody took yet. An earlier reader gets no more.
func (st *Stream) Read() *Reader {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.attach(st.taken)
}

// readAfter makes a reader of the events after sequence number seq.
func (st *Stream) readAfter(seq uint64) *Reader {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.attach(min(seq, st.last))
}

// attach needs st.mu.
func (st *Stream) attach(after uint64) *Reader {
	st.wake() // the earlier reader learns that it was replaced
	st.heard = true
	st.reader = &Reader{st: st, next: after + 1, ready: make(chan struct{}, 1)}
	return st.reader
}

// Watched reports whether somebody reads the stream.
func (st *Stream) Watched() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.reader != nil
}

// wake tells the reader to look again. It needs st.mu.
func (st *Stream) wake() {
	if st.reader == nil {
		return
	}
	select {
	case st.reader.ready <- struct{}{}:
	default:
	}
}

// Reader takes events out of a stream, in order, each once.
type Reader struct {
	st    *Stream
	next  uint64 // guarded by st.mu
	ready chan struct{}
}

// Ready receives when Take may have something new to say.
func (r *Reader) Ready() <-chan struct{} { return r.ready }

// Close ends the reading; the stream goes on without a reader.
func (r *Reader) Close() {
	r.st.mu.Lock()
	defer r.st.mu.Unlock()
	if r.st.reader == r {
		r.st.reader = nil
	}
}

// Current reports whether no other reader took over.
func (r *Reader) Current() bool {
	r.st.mu.Lock()
	defer r.st.mu.Unlock()
	return r.st.reader == r
}

// Position is the event id from which a client can go on after what was taken so far.
func (r *Reader) Position() string {
	r.st.mu.Lock()
	defer r.st.mu.Unlock()
	return r.st.tag + strconv.FormatUint(r.next-1, 10)
}

// Take returns the events since the last Take and whether there may be more: not when the stream has finished or
// another reader took over.
func (r *Reader) Take() (events []Event, more bool) {
	st := r.st
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.reader != r {
		return nil, false
	}
	first := st.last - uint64(len(st.ring)) + 1
	r.next = max(r.next, first) // what lay before was pushed out of the ring
	for ; r.next <= st.last; r.next++ {
		events = append(events, Event{ID: st.tag + strconv.FormatUint(r.next, 10), Data: st.ring[r.next-first]})
	}
	st.taken = max(st.taken, st.last)
	if st.bytes > ringBytes { // one event that is too large to keep for a second reading
		st.ring, st.bytes = nil, 0
	}
	return events, !st.finished
}
