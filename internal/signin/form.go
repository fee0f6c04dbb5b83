package signin

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"unicode/utf8"

	"gatehouse/internal/identity"
)

// maxFormBytes bounds what a form may send.
const maxFormBytes = 64 << 10

// FormField is the name of the hidden field that carries a form's token.
const FormField = "csrf"

// ErrForm means that a form was not sent from a page of ours, in this browser, by the person it was shown to.
var ErrForm = errors.New("the form does not belong to this browser session")

// FormToken returns the token for the forms that are shown to somebody who is signed in.
func (s *Service) FormToken(signedIn *identity.SignedIn) string {
	return s.formToken("session", []byte(signedIn.SessionID))
}

// CheckForm parses a form that was posted by somebody who is signed in; ErrForm when it is not theirs.
func (s *Service) CheckForm(w http.ResponseWriter, r *http.Request, signedIn *identity.SignedIn) error {
	return s.checkForm(w, r, "session", []byte(signedIn.SessionID))
}

// browserFormToken returns the token for forms shown before anybody is signed in. It is tied to a cookie, which is
// set unless the browser has it already, so that several tabs can show the form at once.
func (s *Service) browserFormToken(w http.ResponseWriter, r *http.Request) (token string, browser []byte) {
	browser, ok := s.cookies.token(r, s.cookies.form)
	if !ok {
		browser = randomBytes()
		s.cookies.set(w, s.cookies.form, base64.RawURLEncoding.EncodeToString(browser), 0)
	}
	return s.formToken("browser", browser), browser
}

// checkBrowserForm is CheckForm for browserFormToken; it returns the cookie's value.
func (s *Service) checkBrowserForm(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	browser, ok := s.cookies.token(r, s.cookies.form)
	if !ok {
		browser = nil
	}
	return browser, s.checkForm(w, r, "browser", browser)
}

func (s *Service) formToken(kind string, binding []byte) string {
	return base64.RawURLEncoding.EncodeToString(s.forms.Sum(append([]byte(kind+"\x00"), binding...)))
}

// checkForm reads the form in any case, so that what was typed can be shown again.
func (s *Service) checkForm(w http.ResponseWriter, r *http.Request, kind string, binding []byte) error {
	r.Body = http.MaxBytesReader(w, r.Body, maxFormBytes)
	if err := r.ParseForm(); err != nil {
		return ErrForm
	}
	if err := s.origin.Check(r); err != nil {
		return ErrForm
	}
	tag, err := base64.RawURLEncoding.Strict().DecodeString(r.PostForm.Get(FormField))
	if err != nil || len(binding) == 0 || !s.forms.Check(append([]byte(kind+"\x00"), binding...), tag) {
		return ErrForm
	}
	return nil
}

// localPath reports whether a value is a path on this very origin, however a browser reads it.
func localPath(p string) bool {
	if !strings.HasPrefix(p, "/") || strings.HasPrefix(p, "//") || strings.HasPrefix(p, "/\\") {
		return false
	}
	for _, c := range p {
		if c < 0x21 || c == 0x7f || c == '\\' {
			return false
		}
	}
	return utf8.ValidString(p)
}

// truncate shortens text to at most n bytes without cutting a character in two.
func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
