package doctor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"gatehouse/internal/seal"
	"gatehouse/internal/web"
)

// The doctor asks the running Gatehouse how its requests arrive there, which no answer to a client tells: under which
// host and path, from which peer, and whether a stream gets through piece by piece. The question is sealed under the
// master key, so that nobody else can ask, and a request with any other one is served as if there were none. The
// answer is sealed too: whoever gives it is the Gatehouse of this configuration.
const (
	questionHeader              = "Gatehouse-Doctor"
	purpose        seal.Purpose = "doctor"

	questionLife = 5 * time.Minute // clocks may differ by a few
	longestHold  = 5 * time.Second
)

// question is what the header carries.
type question struct {
	Asked int64  `json:"asked"` // Unix seconds
	Nonce string `json:"nonce"`
	Hold  int64  `json:"hold_ms"` // how long the stream stays open between its two events
}

// Seen is how a request arrived.
type Seen struct {
	Nonce   string `json:"nonce"`
	Version string `json:"version"`
	Config  string `json:"config"` // fingerprint of the configuration in force
	Method  string `json:"method"`
	Path    string `json:"path"`
	Host    string `json:"host"`
	Peer    string `json:"peer"`   // address of who connected
	Client  string `json:"client"` // address of the client as Gatehouse takes it to be

	Forwarded   bool   `json:"forwarded"`   // somebody said for whom the request comes
	Certificate string `json:"certificate"` // what became of a made-up client certificate; empty: nothing
}

// AnswerOptions are what the answering side needs.
type AnswerOptions struct {
	Keys    *seal.Keyring
	Now     func() time.Time
	Version string
	Config  func() string // fingerprint of the configuration in force
}

// Answer is the middleware that answers the doctor's questions. It stands before the checks of host and proxy, which it
// helps to explain.
func Answer(o AnswerOptions) web.Middleware {
	box := o.Keys.Box(purpose)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			sealed := r.Header[questionHeader] // its name is in the form of keys
			if len(sealed) == 0 {
				next.ServeHTTP(w, r)
				return
			}
			q, err := openQuestion(box, sealed[0], o.Now())
			if err != nil {
				next.ServeHTTP(w, r)
				return
			}
			web.Note(r.Context(), "doctor", true)
			seen := Seen{Nonce: q.Nonce, Version: o.Version, Config: o.Config(), Method: r.Method, Path: r.URL.Path, Host: r.Host,
				Peer: peer(r), Client: web.ClientIP(r).String(), Forwarded: r.Header.Get("X-Forwarded-For") != "", Certificate: certificate(r)}
			if err := tell(w, r, box, seen, time.Duration(q.Hold)*time.Millisecond); err != nil {
				web.Note(r.Context(), "error", err.Error())
			}
		})
	}
}

// A client certificate that nobody has: Gatehouse must never see it.
const (
	noCertificate       = "gatehouse-doctor made this up"
	noCertificateHeader = ":Z2F0ZWhvdXNlLWRvY3RvciBtYWRlIHRoaXMgdXA=:" // as in RFC 9440
	believed            = "believed"
)

// certificate says whether a client can make Gatehouse believe that it has a certificate, or what is wrong with the header
// in which the proxy says so.
func certificate(r *http.Request) string {
	der, err := web.ClientCertificate(r)
	switch {
	case err != nil:
		return err.Error()
	case string(der) == noCertificate:
		return believed
	}
	return ""
}

func openQuestion(box *seal.Box, sealed string, now time.Time) (question, error) {
	raw, err := box.OpenString(sealed, []byte("question"))
	if err != nil {
		return question{}, err
	}
	var q question
	if err := json.Unmarshal(raw, &q); err != nil {
		return question{}, err
	}
	if now.Sub(time.Unix(q.Asked, 0)).Abs() > questionLife {
		return question{}, errors.New("an old question")
	}
	return q, nil
}

func peer(r *http.Request) string {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return ap.Addr().Unmap().String()
}

// tell answers as an MCP stream does: one event, a pause, another event.
func tell(w http.ResponseWriter, r *http.Request, box *seal.Box, seen Seen, hold time.Duration) error {
	body, err := json.Marshal(seen)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache, no-store, no-transform")
	h.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	flush := http.NewResponseController(w).Flush
	fmt.Fprintf(w, "data: %s\n\n", box.SealString(body, []byte("answer")))
	if err := flush(); err != nil {
		return err
	}
	timer := time.NewTimer(min(max(hold, 0), longestHold))
	defer timer.Stop()
	select {
	case <-timer.C:
		fmt.Fprint(w, endEvent)
		return flush()
	case <-r.Context().Done():
		return nil // whoever asked has heard enough
	}
}

const endEvent = "data: end\n\n"

// heard is what became of a question.
type heard struct {
	answer           // headers and status, also when something else answered
	seen       *Seen // nil: not answered
	held       bool  // the first event came no sooner than the last
	compressed string
}

// question sends a question to whatever serves q.url, sealed so that only a Gatehouse with the same master key can read it.
// Hold is the pause between the two events of the answer, by which it can be seen whether something in between holds streams
// back.
func (p *probe) question(ctx context.Context, keys *seal.Keyring, q ask, hold time.Duration) heard {
	if keys == nil {
		return heard{answer: answer{url: q.url, err: errors.New("the master key is not known here")}}
	}
	box := keys.Box(purpose)
	nonce := rand.Text()
	raw, err := json.Marshal(question{p.now().Unix(), nonce, hold.Milliseconds()})
	if err != nil {
		return heard{answer: answer{url: q.url, err: err}}
	}
	header := map[string]string{questionHeader: box.SealString(raw, []byte("question"))}
	for name, value := range q.header {
		header[name] = value
	}
	q.header = header
	ctx, cancel := context.WithTimeout(ctx, p.timeout+hold)
	defer cancel()
	out := heard{answer: answer{url: q.url}}
	began := time.Now()
	resp, err := p.send(ctx, q, &out.answer)
	if err != nil {
		out.err = err
		return out
	}
	defer resp.Body.Close()
	out.compressed = resp.Header.Get("Content-Encoding")
	if resp.StatusCode != http.StatusOK || out.compressed != "" {
		return out
	}
	text := ""
	buf := make([]byte, 4096)
	for !strings.Contains(text, "\n\n") && len(text) < maxBody {
		n, err := resp.Body.Read(buf)
		text += string(buf[:n])
		if err != nil {
			break
		}
	}
	out.held = strings.Contains(text, endEvent) || hold > 0 && time.Since(began) >= hold
	first, _, _ := strings.Cut(strings.TrimPrefix(text, "data: "), "\n")
	opened, err := box.OpenString(first, []byte("answer"))
	if err != nil {
		return out
	}
	var seen Seen
	if json.Unmarshal(opened, &seen) == nil && seen.Nonce == nonce {
		out.seen = &seen
	}
	return out
}
