// Package page owns the look of every HTML page: the layout, the style sheet, the few static files, and the headers
// that fence a page in. It knows neither sessions nor forms' meaning: handlers bring their own data, one template
// per page stands in templates/, and a page's template is the only place that knows that data's fields.
//
// Pages are rendered on the server and work without JavaScript, in light and dark, with a keyboard, a screen reader
// and on a phone. Nothing is inline and nothing comes from elsewhere, so that the content policy can forbid both.
//
// # Writing a page
//
// templates/NAME.html defines "title" (plain text) and "main" (what stands between header and footer), and may
// define "width" as "wide" (default "narrow"). The dot is the handler's data. What the style sheet offers:
//
//	<section class="card">                       a sheet of paper; one or several on a page, <header class="card-head"> on top
//	<h1>, <h2>, <p class="lead">                 the page's heading, a section's heading, one introducing sentence
//	<p class="muted">, <small>, <code>           side remarks, fine print, literal values (break anywhere)
//	<form class="stack">                         fields and buttons below one another
//	<div class="field"><label for=ID>…<input id=ID>[<p class="hint" id=ID-hint>]</div>
//	<label class="check"><input type="checkbox"> …</label>
//	<button class="button primary">, <button class="button secondary">, <button class="button danger">
//	<div class="actions">                        buttons side by side; the primary one first in the source, they stack on a phone
//	<div class="choices">                        buttons of equal weight below one another
//	<dl class="facts"><div><dt>…</dt><dd>…</dd></div></dl>   names and values
//	<ul class="items"><li>…                      a list with rules between; <li class="row"> puts text left and a button right
//	<ul class="ticks"><li>…                      what a permission allows
//	<div class="notice">, "notice warning", "notice error", "notice success"   with role="alert" or role="status"
//	<span class="badge">, "badge warning", "badge success"   one word of status, such as “unverified”
//	<p class="aside">                            a quiet line under the card
package page

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed templates/*.html
var templateFiles embed.FS

// templates holds one set for each page: the layout, the parts that pages share, and that page's own definitions. It
// never changes.
var templates = parse(templateFiles)

// fence says how a page's headers differ from the default.
type fence struct {
	flow   bool // part of an authorization flow, which ends at the client
	script bool // loads the passkey script
}

// fenceOf is the only list of pages that need more than the default.
func fenceOf(name string) fence {
	switch name {
	case "consent", "signout", "device", "device_consent": // the device's pages may lead to a sign-in elsewhere
		return fence{flow: true}
	case "signin":
		return fence{flow: true, script: true}
	case "account":
		return fence{script: true}
	}
	return fence{}
}

// Render writes one page. Nothing has been written when it returns an error.
func Render(w http.ResponseWriter, r *http.Request, status int, name string, data any) error {
	t, ok := templates[name]
	if !ok {
		return fmt.Errorf("render page %q: there is no such template", name)
	}
	var body bytes.Buffer
	if err := t.ExecuteTemplate(&body, "layout", data); err != nil {
		return fmt.Errorf("render page %q: %w", name, err)
	}
	setHeaders(w.Header(), fenceOf(name))
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // the reader has gone; there is nobody left to tell
	return nil
}

// Message is the data of the "message" page: something to say, and perhaps one place to go on to.
type Message struct {
	Title, Text        string
	Detail             string // fine print, such as a request id
	LinkText, LinkPath string
}

// SignedOut is the message after signing out. Somebody who came from an identity provider is still signed in there: the
// address is where they can change that, if the provider has one.
func SignedOut(provider, address string) Message {
	m := Message{Title: "You are signed out", Text: "You can close this window. To sign in again, start from your application."}
	if provider == "" {
		return m
	}
	m.Text = "You are signed out of Gatehouse, and still signed in at " + provider + ". On a computer that others use, sign out there as well."
	if address != "" {
		m.LinkText, m.LinkPath = "Sign out at "+provider, address
	}
	return m
}

// setHeaders writes what holds for every page (security checklist 27, 28).
//
// A page of an authorization flow goes without form-action, because Chromium applies it to the redirects that follow
// a form, and those end at the client's own origin; and without an opener policy, because a client may have opened
// the flow in a window from which its callback page reports back.
func setHeaders(h http.Header, f fence) {
	policy := "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'"
	if f.script {
		policy += "; script-src 'self'"
	}
	if !f.flow {
		policy += "; form-action 'self'"
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
	}
	h.Set("Content-Security-Policy", policy)
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
}

// parse panics when a template that is compiled in is faulty, which the first test run shows.
func parse(files fs.FS) map[string]*template.Template {
	layout := template.Must(template.New("").Funcs(template.FuncMap{
		"asset": assetPath,
		"date":  func(t time.Time) string { return t.UTC().Format("2 January 2006") },
		"iso":   func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	}).ParseFS(files, "templates/layout.html", "templates/parts.html"))
	names, err := fs.Glob(files, "templates/*.html")
	if err != nil {
		panic(err)
	}
	sets := map[string]*template.Template{}
	for _, file := range names {
		name := strings.TrimSuffix(path.Base(file), ".html")
		if name == "layout" || name == "parts" {
			continue
		}
		sets[name] = template.Must(template.Must(layout.Clone()).ParseFS(files, file))
	}
	return sets
}
