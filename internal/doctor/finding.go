package doctor

import "fmt"

// Status is what a check came to.
type Status string

// The statuses, from the best to the worst.
const (
	Skip Status = "skip" // not looked at, because something it rests on failed or does not apply
	OK   Status = "ok"
	Warn Status = "warn" // works, but not for everybody or not for long
	Fail Status = "fail" // something does not work
)

// Finding is what one check found. Code, Expected and Fix are set where something is wrong.
type Finding struct {
	Status   Status `json:"status"`
	Code     Code   `json:"code,omitempty"`
	About    string `json:"about"` // the part of the installation: public_url, endpoint /mcp, issuer okta, …
	Check    string `json:"check"` // what was looked at
	Found    string `json:"found,omitempty"`
	Expected string `json:"expected,omitempty"`
	Fix      string `json:"fix,omitempty"`
}

// trouble is what is wrong, before it is known which check it belongs to.
type trouble struct {
	code                 Code
	found, expected, fix string
}

// report gathers the findings about one part of the installation.
type report struct {
	about string
	all   []Finding
}

func (r *report) ok(check, format string, args ...any) {
	r.all = append(r.all, Finding{Status: OK, About: r.about, Check: check, Found: fmt.Sprintf(format, args...)})
}

func (r *report) skip(check, why string) {
	r.all = append(r.all, Finding{Status: Skip, About: r.about, Check: check, Found: why})
}

func (r *report) fail(check string, t trouble) { r.add(Fail, check, t) }
func (r *report) warn(check string, t trouble) { r.add(Warn, check, t) }

func (r *report) add(s Status, check string, t trouble) {
	r.all = append(r.all, Finding{Status: s, Code: t.code, About: r.about, Check: check, Found: t.found, Expected: t.expected, Fix: t.fix})
}

// Count says how many checks came to a status.
func Count(all []Finding, s Status) int {
	n := 0
	for _, f := range all {
		if f.Status == s {
			n++
		}
	}
	return n
}
