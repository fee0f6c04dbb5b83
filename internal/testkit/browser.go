package testkit

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

// Browser is a person with a plain browser without JavaScript: it keeps cookies, follows redirects, and fills in the
// forms that the pages offer, by the names that the pages give. It fails its test when something cannot be done.
type Browser struct {
	Client *http.Client

	t testing.TB
}

// Page is what a browser shows.
type Page struct {
	URL    *url.URL
	Status int
	Text   string

	forms []form
}

// form is one form of a page, with the values that the page put in.
type form struct {
	page    *url.URL
	action  *url.URL
	method  string
	fields  url.Values
	empty   map[string]bool // boxes that nobody has ticked; they are not sent
	buttons []button
}

type button struct{ name, value, text string }

// NewBrowser opens a browser without cookies.
func NewBrowser(t testing.TB) *Browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &Browser{t: t, Client: &http.Client{Jar: jar}}
}

// Open goes to an address as if the person had typed it.
func (b *Browser) Open(address string) Page {
	b.t.Helper()
	req, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html")
	req.Header.Set("Sec-Fetch-Site", "none")
	return b.do(req)
}

func (b *Browser) do(req *http.Request) Page {
	b.t.Helper()
	resp, err := b.Client.Do(req)
	if err != nil {
		b.t.Fatalf("browser: %s %s: %v", req.Method, req.URL, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		b.t.Fatalf("browser: read %s: %v", resp.Request.URL, err)
	}
	p := Page{URL: resp.Request.URL, Status: resp.StatusCode, Text: string(body)}
	root, err := html.Parse(strings.NewReader(p.Text))
	if err != nil {
		b.t.Fatalf("browser: parse %s: %v", p.URL, err)
	}
	p.forms = findForms(root, p.URL)
	return p
}

// Submit fills in the form that has all the named fields, presses the named button ("" for the first), and returns
// the page that follows.
func (b *Browser) Submit(p Page, press string, values map[string]string) Page {
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
	b.t.Fatalf("browser: %s has no form with %v and button %q:\n%s", p, values, press, p.Text)
	return Page{}
}

func (b *Browser) post(f form, data url.Values) Page {
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

// SignIn walks from an authorization URL to the end: password, then consent. It returns the last page, which is the
// client's own callback page.
func (b *Browser) SignIn(address, username, password string) Page {
	b.t.Helper()
	p := b.Password(b.Open(address), username, password)
	return b.Submit(p, "allow", nil)
}

// Password fills in the sign-in page and returns the page that follows.
func (b *Browser) Password(p Page, username, password string) Page {
	b.t.Helper()
	return b.Submit(p, "", map[string]string{"username": username, "password": password})
}

// MustShow fails the test unless the page has the texts.
func (p Page) MustShow(t testing.TB, texts ...string) {
	t.Helper()
	for _, s := range texts {
		if !strings.Contains(p.Text, s) {
			t.Errorf("%s does not show %q:\n%s", p, s, p.Text)
		}
	}
}

// Field returns the value that the page put into a field of one of its forms, empty when there is none.
func (p Page) Field(name string) string {
	for _, f := range p.forms {
		if f.fields.Has(name) {
			return f.fields.Get(name)
		}
	}
	return ""
}

// String names the page in messages.
func (p Page) String() string { return fmt.Sprintf("%d %s", p.Status, p.URL) }

func (f form) takes(values map[string]string) bool {
	for k := range values {
		if !f.fields.Has(k) && !f.empty[k] {
			return false
		}
	}
	return true
}

func findForms(n *html.Node, at *url.URL) []form {
	var out []form
	for c := range n.Descendants() {
		if c.Type == html.ElementNode && c.Data == "form" {
			f := readForm(c, at)
			if id := attr(c, "id"); id != "" {
				f.readElsewhere(n, id)
			}
			out = append(out, f)
		}
	}
	return out
}

// readElsewhere adds the buttons that stand outside the form and name it.
func (f *form) readElsewhere(root *html.Node, id string) {
	for c := range root.Descendants() {
		if c.Type == html.ElementNode && c.Data == "button" && attr(c, "form") == id {
			f.buttons = append(f.buttons, button{attr(c, "name"), attr(c, "value"), strings.TrimSpace(textOf(c))})
		}
	}
}

func readForm(n *html.Node, at *url.URL) form {
	action, err := at.Parse(attr(n, "action"))
	if err != nil {
		action = at
	}
	f := form{page: at, action: action, method: strings.ToUpper(attr(n, "method")), fields: url.Values{}, empty: map[string]bool{}}
	for c := range n.Descendants() {
		if c.Type != html.ElementNode {
			continue
		}
		name, kind := attr(c, "name"), attr(c, "type")
		switch {
		case c.Data == "button" || (c.Data == "input" && kind == "submit"):
			f.buttons = append(f.buttons, button{name, attr(c, "value"), strings.TrimSpace(textOf(c))})
		case c.Data == "input" && kind == "checkbox" && !slices.ContainsFunc(c.Attr, func(a html.Attribute) bool { return a.Key == "checked" }):
			f.empty[name] = true
		case c.Data == "input" && name != "":
			f.fields.Set(name, attr(c, "value"))
		case c.Data == "textarea" && name != "":
			f.fields.Set(name, textOf(c))
		case c.Data == "select" && name != "":
			f.fields.Set(name, chosen(c))
		}
	}
	return f
}

// chosen is the option that a list shows as the page comes.
func chosen(list *html.Node) string {
	first := ""
	for c := range list.Descendants() {
		switch {
		case c.Type != html.ElementNode || c.Data != "option":
		case slices.ContainsFunc(c.Attr, func(a html.Attribute) bool { return a.Key == "selected" }):
			return attr(c, "value")
		case first == "":
			first = attr(c, "value")
		}
	}
	return first
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
