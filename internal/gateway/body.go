package gateway

import (
	"io"
	"sync"
)

// keptBuffer is the size above which a buffer is left to the garbage collector, so that rare huge messages do not
// stay in memory.
const keptBuffer = 64 << 10

// buffers lends empty buffers for request bodies and answers.
type buffers struct{ pool sync.Pool }

func (b *buffers) get() *[]byte {
	if buf, ok := b.pool.Get().(*[]byte); ok {
		return buf
	}
	buf := make([]byte, 0, 4<<10)
	return &buf
}

func (b *buffers) put(buf *[]byte) {
	if cap(*buf) <= keptBuffer {
		*buf = (*buf)[:0]
		b.pool.Put(buf)
	}
}

// read takes in a whole body before anything is answered: an answer that overtakes its request can be cut off on the
// way. The size is limited outside.
func (b *buffers) read(body io.Reader) (*[]byte, error) {
	buf := b.get()
	for {
		if len(*buf) == cap(*buf) {
			*buf = append(*buf, 0)[:len(*buf)]
		}
		n, err := body.Read((*buf)[len(*buf):cap(*buf)])
		*buf = (*buf)[:len(*buf)+n]
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			b.put(buf)
			return nil, err
		}
	}
}
