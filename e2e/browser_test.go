//go:build e2e

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// browser is a person with a plain browser without JavaScript: it keeps cookies, follows redirects, and fills in the
// forms that the pages offer, by the names that the pages give.
type browser struct {
	t      *testing.T
	client *http.Client
}

// form is one form of a page, with the values that the page put in.
type form struct {
	page    *url.URL
	action  *url.URL
	method  string
	fields  url.Values
	buttons []button
}

type button struct{ name, value, text string }

// page is what the browser shows.
type page struct {
	url    *url.URL
	status int
	text   string
	forms  []form
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t: t, client: &http.Client{Jar: jar}}
}

func (b *browser) open(address string) page {
	b.t.Helper()
	req, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html")
	req.Header.Set("Sec-Fetch-Site", "none")
	return b.do(req)
}

func (b *browser) do(req *http.Request) page {
	b.t.Helper()
	resp, err := b.client.Do(req)
	if err != nil {
		b.t.Fatalf("browser: %s %s: %v", req.Method, req.URL, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		b.t.Fatalf("browser: read %s: %v", resp.Request.URL, err)
	}
	p := page{url: resp.Request.URL, status: resp.StatusCode, text: string(body)}
	root, err := html.Parse(strings.NewReader(p.text))
	if err != nil {
		b.t.Fatalf("browser: parse %s: %v", p.url, err)
	}
	p.forms = findForms(root, p.url)
	return p
}

// submit fills in the form that has all the named fields, presses the named button ("" for the first), and returns
// the page that follows.
func (b *browser) submit(p page, press string, values map[string]string) page {
	b.t.Helper()
	for _, f := range p.forms {
		if !f.takes(values) {
			continue
		}
		i := slices.IndexFunc(f.buttons, func(x button) bool { return press == "" || x.value == press || x.text == press })
		if i < 0 {
			continue
		}
		data := url.Values{}
		for k, v := range f.fields {
			data[k] = v
		}
		for k, v := range values {
			data.Set(k, v)
		}
		if x := f.buttons[i]; x.name != "" {
			data.Set(x.name, x.value)
		}
		return b.post(f, data)
	}
	b.t.Fatalf("browser: %s has no form with %v and button %q:\n%s", p.url, values, press, p.text)
	return page{}
}

func (b *browser) post(f form, data url.Values) page {
	b.t.Helper()
	req, err := http.NewRequest(f.method, f.action.String(), strings.NewReader(data.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "text/html")
	req.Header.Set("Origin", f.page.Scheme+"://"+f.page.Host)
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	return b.do(req)
}

func (f form) takes(values map[string]string) bool {
	for k := range values {
		if _, ok := f.fields[k]; !ok {
			return false
		}
	}
	return true
}

func findForms(n *html.Node, at *url.URL) []form {
	var out []form
	for c := range n.Descendants() {
		if c.Type == html.ElementNode && c.Data == "form" {
			out = append(out, readForm(c, at))
		}
	}
	return out
}

func readForm(n *html.Node, at *url.URL) form {
	action, err := at.Parse(attr(n, "action"))
	if err != nil {
		action = at
	}
	f := form{page: at, action: action, method: strings.ToUpper(attr(n, "method")), fields: url.Values{}}
	for c := range n.Descendants() {
		if c.Type != html.ElementNode {
			continue
		}
		name, kind := attr(c, "name"), attr(c, "type")
		switch {
		case c.Data == "button" || (c.Data == "input" && kind == "submit"):
			f.buttons = append(f.buttons, button{name, attr(c, "value"), strings.TrimSpace(textOf(c))})
		case c.Data == "input" && name != "":
			f.fields.Set(name, attr(c, "value"))
		}
	}
	return f
}

func attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

func textOf(n *html.Node) string {
	var b strings.Builder
	for c := range n.Descendants() {
		if c.Type == html.TextNode {
			b.WriteString(c.Data)
		}
	}
	return b.String()
}

// signIn walks from the authorization URL to the end: password, then consent. It returns the last page, which is the
// client's own callback page.
func (b *browser) signIn(address, username, password string) page {
	b.t.Helper()
	p := b.password(b.open(address), username, password)
	return b.submit(p, "allow", nil)
}

// password fills in the sign-in page and returns the page that follows.
func (b *browser) password(p page, username, password string) page {
	b.t.Helper()
	return b.submit(p, "", map[string]string{"username": username, "password": password})
}

// mustShow fails the test unless the page has the text.
func (p page) mustShow(t *testing.T, texts ...string) {
	t.Helper()
	for _, s := range texts {
		if !strings.Contains(p.text, s) {
			t.Errorf("%s does not show %q:\n%s", p.url, s, p.text)
		}
	}
}

func (p page) String() string { return fmt.Sprintf("%d %s", p.status, p.url) }
