package gateway

import (
	"errors"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// deaf is the writer of a client that does not listen any more.
type deaf struct{ *httptest.ResponseRecorder }

func (deaf) Write([]byte) (int, error) { return 0, errors.New("the connection is broken") }

// A client that went away has all the time that it is given to come back, also when a heartbeat was on its way then.
func TestClientHasTimeToComeBack(t *testing.T) {
	t.Parallel()
	for name, goes := range map[string]func(a *answer){
		"its connection ends": (*answer).lost,
		"it takes no events": func(a *answer) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.write([]byte("event"))
		},
	} {
		for _, watched := range []bool{true, false} { // its connection, when it goes
			synctest.Test(t, func(t *testing.T) {
				ended := make(chan error, 8)
				rq := &request{
					g: &Gateway{o: Options{Heartbeat: 2 * time.Second, Orphan: time.Minute}, watched: waits{while: time.Second}},
					w: deaf{httptest.NewRecorder()}, r: httptest.NewRequestWithContext(t.Context(), "POST", "/mcp", nil),
				}
				a := &answer{}
				a.open(rq, canceler(func(cause error) { ended <- cause }), 1)
				defer a.close()
				if watched {
					a.tick()
				}
				goes(a)
				a.tick()
				time.Sleep(time.Minute - time.Second)
				synctest.Wait()
				if len(ended) > 0 {
					t.Errorf("%s: the call ended at once: %v", name, <-ended)
				}
				time.Sleep(4 * time.Second)
				synctest.Wait()
				if len(ended) != 1 {
					t.Errorf("%s: the call has ended %d times", name, len(ended))
				}
			})
		}
	}
}

type canceler func(cause error)

// Cancel implements session.Canceler.
func (c canceler) Cancel(cause error) { c(cause) }
