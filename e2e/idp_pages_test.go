//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/internal/testkit"
)

// formPage is a page and what a person does there: fill in fields, press a button by its text or value, "" for the first.
type formPage struct {
	Fields map[string]string `json:"fields,omitempty"`
	Press  string            `json:"press"`
}

// walked is where a person came through pages, and what they saw.
type walked struct {
	ended *url.URL
	texts []string // of each page
}

// mustBeCallback insists that the walk ended at the assistant, with a code.
func (w walked) mustBeCallback(t *testing.T, at place) {
	t.Helper()
	if w.ended.Port() != at.callbackPort() || w.ended.Path != "/oauth/callback" || w.ended.Query().Get("code") == "" {
		t.Fatalf("the sign-in ended at %s, not at the client's callback:\n%s", w.ended, w.last())
	}
}

func (w walked) last() string { return w.texts[len(w.texts)-1] }

// browse walks through the pages without a real browser, which is quick.
func browse(t *testing.T, address string, pages []formPage) walked {
	t.Helper()
	b := newIDPBrowser(t)
	page := b.Open(address)
	w := walked{texts: []string{page.Text}}
	for _, p := range pages {
		page = b.Submit(page, p.Press, p.Fields)
		w.texts = append(w.texts, page.Text)
	}
	w.ended = page.URL
	return w
}

// walk does the same in Chromium and keeps a screenshot of each page; ours is Gatehouse's origin.
func walk(t *testing.T, name, address, ours string, pages []formPage) walked {
	t.Helper()
	if _, err := exec.LookPath("chromium"); err != nil {
		t.Fatal("chromium is not installed; run e2e/install.sh")
	}
	steps, err := json.Marshal(pages)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(kit.node, filepath.Join("node", "walk.mjs"), address, string(steps), filepath.Join(kit.artifacts, name), ours)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("drive Chromium: %v\n%s", err, stderr.String())
	}
	var report struct {
		Pages    []string `json:"pages"`
		Problems []string `json:"problems"`
		Ended    string   `json:"ended"`
	}
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatalf("the driver's report is not JSON: %v\n%s", err, out)
	}
	ended, err := url.Parse(report.Ended)
	if err != nil || len(report.Problems) > 0 {
		t.Fatalf("in Chromium: %s %v\n%s", strings.Join(report.Problems, "\n"), err, strings.Join(report.Pages, "\n\n"))
	}
	return walked{ended: ended, texts: report.Pages}
}

// newIDPBrowser opens a browser that, as real ones do, takes http on loopback for secure enough to keep Secure cookies.
func newIDPBrowser(t *testing.T) *testkit.Browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := testkit.NewBrowser(t)
	b.Client.Jar = loopbackJar{jar}
	return b
}

type loopbackJar struct{ jar *cookiejar.Jar }

func (j loopbackJar) SetCookies(u *url.URL, cookies []*http.Cookie) {
	j.jar.SetCookies(secured(u), cookies)
}
func (j loopbackJar) Cookies(u *url.URL) []*http.Cookie { return j.jar.Cookies(secured(u)) }

func secured(u *url.URL) *url.URL {
	https := *u
	https.Scheme = "https"
	return &https
}
