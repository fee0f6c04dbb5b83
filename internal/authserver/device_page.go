package authserver

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/identity"
	"gatehouse/internal/page"
	"gatehouse/internal/store"
	"gatehouse/internal/web"
)

const devicePath = "/device"

// methodDevice marks audit events of decisions about a device.
const methodDevice = "device"

// devicePage is the data of templates/device.html.
type devicePage struct {
	UserCode string // as it was typed
	Error    string
	Person   string
}

// deviceConsentPage is the data of templates/device_consent.html.
type deviceConsentPage struct {
	consentPage
	UserCode string
	Address  string // from where the device asked
	Minutes  int    // how long ago
	Here     string // where this browser is, when that is another network
	Error    string
}

// device is where a person types in the code that a device shows (RFC 8628 §3.3). Nothing about a code is said to
// somebody who is not signed in, so that guessing has a name. What is then shown is all there is against the attack by
// which a stranger has a person allow the stranger's device (RFC 8628 §5.4): who asks, for what, when and from where, and
// the code to compare. The person must say that it is the same.
func (s *Server) device(w http.ResponseWriter, r *http.Request) error {
	params, err := readParams(w, r)
	if err != nil {
		return err
	}
	if err := checkRepeated(params); err != nil {
		return err
	}
	if r.Method == http.MethodPost {
		if err := s.checkSameOrigin(r); err != nil {
			return err
		}
	}
	who, ok := s.SignIn.Current(r)
	if !ok {
		s.SignIn.Start(w, r, identity.SignInStart{ReturnTo: deviceURL(params.Get("user_code"))})
		return nil
	}
	switch text := params.Get("user_code"); {
	case r.Method == http.MethodPost && params.Get("decision") != "":
		return s.decideDevice(w, r, who, params)
	case text == "":
		return page.Render(w, r, http.StatusOK, "device", devicePage{Person: who.Person.Label()})
	default:
		return s.showDevice(w, r, who, text)
	}
}

// deviceURL is the local address at which a code is typed in, with the code if it is one.
func deviceURL(text string) string {
	if code, ok := readUserCode(text); ok {
		return devicePath + "?user_code=" + showUserCode(code)
	}
	return devicePath
}

// showDevice looks a code up, and counts when it is wrong.
func (s *Server) showDevice(w http.ResponseWriter, r *http.Request, who *identity.SignedIn, text string) error {
	refund, wait := s.guesses.Try(who.Person.Key.String())
	refundAddress, waitAddress := s.guessesByAddr.Try(web.AddrKey(web.ClientIP(r)))
	if refund == nil || refundAddress == nil {
		web.PrepareError(w, web.TooMany(max(wait, waitAddress)))
		return s.wrongCode(w, r, who, text, http.StatusTooManyRequests, "Too many codes were tried. Wait a few minutes and try again.")
	}
	found, err := s.findDevice(r, text)
	switch {
	case errors.Is(err, store.ErrNotFound):
		if err := s.record(r, audit.Event{Kind: audit.KindDeviceGuess, Person: who.Person.Key}); err != nil {
			return err
		}
		return s.wrongCode(w, r, who, text, http.StatusUnprocessableEntity,
			"No device is waiting with this code. Compare it with the one that the device shows; after ten minutes a code no longer works.")
	case err != nil:
		return err
	}
	refund()
	refundAddress()
	return s.renderDevice(w, r, who, found, http.StatusOK, "")
}

func (s *Server) wrongCode(w http.ResponseWriter, r *http.Request, who *identity.SignedIn, text string, status int, why string) error {
	return page.Render(w, r, status, "device", devicePage{UserCode: text[:min(len(text), maxUserCodeText)], Error: why, Person: who.Person.Label()})
}

// foundDevice is a device that waits, with its client.
type foundDevice struct {
	store.DeviceRequest
	userCode string // as people read it
	client   *Client
}

// findDevice finds the device that waits with a code, unless its client may no longer ask or its endpoint is gone:
// ErrNotFound.
func (s *Server) findDevice(r *http.Request, text string) (*foundDevice, error) {
	code, ok := readUserCode(text)
	if !ok {
		return nil, store.ErrNotFound
	}
	request, err := s.Store.WaitingDevice(r.Context(), s.userCodes.Sums([]byte(code)))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, err
	case err != nil:
		return nil, unavailable(err)
	}
	client, err := s.lookup(r.Context(), request.Client, s.browserAccount(r))
	switch {
	case err != nil && web.AsError(err).Code == codeInvalidClient:
		return nil, store.ErrNotFound
	case err != nil:
		return nil, err
	case client.Pending(): // the person has opened too many of them
		return nil, web.TooMany(time.Minute)
	case !client.allows(GrantDevice), request.Resource != "" && !s.current.Load().hasResource(request.Resource):
		return nil, store.ErrNotFound
	}
	return &foundDevice{DeviceRequest: request, userCode: showUserCode(code), client: client}, nil
}

func (s *Server) renderDevice(w http.ResponseWriter, r *http.Request, who *identity.SignedIn, d *foundDevice, status int, trouble string) error {
	t := &transaction{Client: d.Client, Resource: d.Resource, Scopes: d.Scopes}
	data := deviceConsentPage{
		consentPage: *s.consentData(t, d.client, who), UserCode: d.userCode, Address: d.Address,
		Minutes: int(s.Now().Sub(d.CreatedAt) / time.Minute), Error: trouble,
	}
	data.Token = base64.RawURLEncoding.EncodeToString(s.deviceForms.Sum(deviceSubject(d.userCode, who)))
	if here := web.ClientIP(r); web.AddrKey(here) != addrKey(d.Address) {
		data.Here = here.String()
	}
	return page.Render(w, r, status, "device_consent", data)
}

// deviceSubject is what the form's token is made over: a decision counts for the device that was shown, in the browser
// session in which it was shown.
func deviceSubject(userCode string, who *identity.SignedIn) []byte {
	return []byte(userCode + "\x00" + who.SessionID + "\x00" + who.Person.Key.String())
}

// decideDevice acts on the form. The token is checked before the code is looked up, so that this is no way to guess.
func (s *Server) decideDevice(w http.ResponseWriter, r *http.Request, who *identity.SignedIn, form url.Values) error {
	userCode := form.Get("user_code")
	tag, err := decodeExact(form.Get("token"))
	if err != nil || !s.deviceForms.Check(deviceSubject(userCode, who), tag) {
		return &web.Error{Status: http.StatusForbidden, Code: codeInvalidRequest,
			Reason: "form_foreign", Message: "this form belongs to another sign-in; open the page again and type in the code that your device shows"}
	}
	if form.Get("decision") == "switch" {
		if _, err := s.SignIn.End(w, r); err != nil {
			return unavailable(err)
		}
		s.SignIn.Start(w, r, identity.SignInStart{ReturnTo: deviceURL(userCode), OtherAccount: true})
		return nil
	}
	found, err := s.findDevice(r, userCode)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return answered(w, r)
	case err != nil:
		return err
	}
	switch form.Get("decision") {
	case "allow":
		if form.Get("same") != "yes" {
			return s.renderDevice(w, r, who, found, http.StatusUnprocessableEntity, "Say first that your device shows this very code. If it does not, deny.")
		}
		return s.allowDevice(w, r, who, found)
	case "deny":
		return s.denyDevice(w, r, who, found)
	}
	return refuse(codeInvalidRequest, "decision_missing", "the form has no decision")
}

func answered(w http.ResponseWriter, r *http.Request) error {
	return page.Render(w, r, http.StatusConflict, "message", page.Message{
		Title: "This code no longer works", Text: "It has been answered already, or nobody typed it in within ten minutes. If your device still waits, start again there.",
		LinkText: "Type in another code", LinkPath: devicePath,
	})
}

func (s *Server) allowDevice(w http.ResponseWriter, r *http.Request, who *identity.SignedIn, d *foundDevice) error {
	code := store.Code{
		Hash: d.Hash, Grant: identity.GrantID(rand.Text()), Person: who.Person.Key, Client: d.Client, ClientName: d.client.Name,
		Resource: d.Resource, Scopes: d.Scopes, AuthTime: who.AuthTime, Expires: s.Now().Add(deviceRedeem),
		SessionID: who.SessionID, Methods: who.Methods, IDPSession: who.IDPSession,
	}
	event := audit.Event{Kind: audit.KindConsent, Person: code.Person, Client: code.Client, Grant: code.Grant, Scopes: code.Scopes,
		Endpoint: code.Resource, Decision: audit.Allow, Method: methodDevice}
	if err := s.record(r, event); err != nil {
		return err
	}
	switch err := s.Store.AllowDevice(r.Context(), code); {
	case errors.Is(err, store.ErrNotFound): // somebody was faster
		return answered(w, r)
	case err != nil:
		return unavailable(err)
	}
	stands, err := s.sessionStands(r, who, code.Grant)
	switch {
	case err != nil:
		return err
	case !stands:
		return refuse(codeAccessDenied, "signed_out", "you are no longer signed in; start again at your device")
	}
	return page.Render(w, r, http.StatusOK, "message", page.Message{
		Title: "Your device is connected", Text: "Go back to it. In a few seconds it will go on by itself. You can close this window.",
		LinkText: "See what you have connected", LinkPath: "/account",
	})
}

func (s *Server) denyDevice(w http.ResponseWriter, r *http.Request, who *identity.SignedIn, d *foundDevice) error {
	event := audit.Event{Kind: audit.KindDeny, Person: who.Person.Key, Client: d.Client, Endpoint: d.Resource, Decision: audit.Deny, Method: methodDevice}
	if err := s.record(r, event); err != nil {
		return err
	}
	switch err := s.Store.DenyDevice(r.Context(), d.Hash); {
	case errors.Is(err, store.ErrNotFound):
		return answered(w, r)
	case err != nil:
		return unavailable(err)
	}
	return page.Render(w, r, http.StatusOK, "message", page.Message{
		Title: "The device was refused", Text: "It gets no access. If somebody sent you the code or the link, tell your administrator.",
	})
}

// addrKey is the network of an address that was stored.
func addrKey(text string) string {
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return text
	}
	return web.AddrKey(addr)
}
