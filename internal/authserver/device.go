package authserver

import (
	"crypto/rand"
	"errors"
	"net/http"
	"strings"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/store"
	"gatehouse/internal/web"
)

// How devices wait, and how fast user codes may be guessed: by people who are signed in, at that. There are 20^8 codes.
// While as many devices wait as can, one guess in four million is right, and a person has 720 guesses a day.
const (
	deviceLifetime    = 10 * time.Minute // for a person to type in the code
	deviceRedeem      = 5 * time.Minute  // for the device to come back once it is allowed
	deviceInterval    = 5 * time.Second  // between two polls (RFC 8628 §3.2)
	deviceStep        = 5 * time.Second  // by which slow_down lengthens that (RFC 8628 §3.5)
	deviceLongest     = time.Minute
	deviceLeeway      = time.Second
	devicesPerAddress = 30 // requests a minute
	devicesPerMinute  = 600
	guessBurst        = 10
	guessEvery        = 2 * time.Minute

	userCodeAlphabet = "BCDFGHJKLMNPQRSTVWXZ" // RFC 8628 §6.1: no digits and no vowels, hence no confusion and no words
	userCodeLength   = 8
	maxUserCodeText  = 64
)

// deviceResponse is the device authorization response (RFC 8628 §3.2).
type deviceResponse struct {
	DeviceCode string `json:"device_code"`
	UserCode   string `json:"user_code"`
	URI        string `json:"verification_uri"`
	Complete   string `json:"verification_uri_complete"`
	ExpiresIn  int64  `json:"expires_in"`
	Interval   int64  `json:"interval"`
}

// authorizeDevice is the device authorization endpoint (RFC 8628 §3.1): a device without a browser gets a code that a
// person types in elsewhere. It is the one request of a client without a person that writes a row; so it is rationed, and
// the row goes within the hour.
func (s *Server) authorizeDevice(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r)
	if err != nil {
		return err
	}
	if err := checkRepeated(form); err != nil {
		return err
	}
	client, err := s.authenticate(r, form)
	switch {
	case err != nil:
		return err
	case !client.allows(GrantDevice):
		return refuse(codeUnauthorizedClient, "grant_type_not_allowed", "this client may not use the device grant")
	case len(form.Get("scope")) > maxScope:
		return refuse(codeInvalidRequest, "parameter_too_long", "scope is too long")
	}
	current := s.current.Load()
	resource, err := current.findResource(form["resource"])
	if err != nil {
		return err
	}
	if ok, wait := s.devicesByAddr.Allow(web.AddrKey(web.ClientIP(r))); !ok {
		return web.TooMany(wait)
	}
	if ok, wait := s.devices.Allow(""); !ok {
		return web.TooMany(wait)
	}
	now := s.Now()
	request := store.DeviceRequest{
		Client: client.ID, ClientName: client.Name, Scopes: current.grantable(client, resource, form.Get("scope")),
		Address: web.ClientIP(r).String(), CreatedAt: now, Expires: now.Add(deviceLifetime), Interval: deviceInterval,
	}
	if resource != nil {
		request.Resource = resource.URL
	}
	deviceCode, userCode, err := s.saveDevice(r, request)
	if err != nil {
		return err
	}
	if err := s.record(r, audit.Event{Kind: audit.KindDevice, Client: client.ID, Scopes: request.Scopes, Endpoint: request.Resource}); err != nil {
		return err
	}
	uri := string(s.Issuer) + devicePath
	writeJSON(w, http.StatusOK, deviceResponse{
		DeviceCode: deviceCode, UserCode: userCode, URI: uri, Complete: uri + "?user_code=" + userCode,
		ExpiresIn: int64(deviceLifetime / time.Second), Interval: int64(deviceInterval / time.Second),
	})
	return nil
}

// saveDevice gives the request its two codes. A user code that another device waits with is thrown away.
func (s *Server) saveDevice(r *http.Request, request store.DeviceRequest) (deviceCode, userCode string, err error) {
	deviceCode = newToken()
	request.Hash = hashDeviceCode(deviceCode)
	for range 3 {
		code := newUserCode()
		request.UserTag = s.userCodes.Sum([]byte(code))
		switch err = s.Store.SaveDeviceRequest(r.Context(), request); {
		case err == nil:
			return deviceCode, showUserCode(code), nil
		case !errors.Is(err, store.ErrExists):
			return "", "", unavailable(err)
		}
	}
	return "", "", unavailable(err)
}

// hashDeviceCode keeps device codes apart from authorization codes, with which they share a table once allowed: neither
// is redeemed as the other.
func hashDeviceCode(code string) []byte { return hash("device code " + code) }

func newUserCode() string {
	out := make([]byte, 0, userCodeLength)
	for len(out) < userCodeLength {
		var raw [2 * userCodeLength]byte
		_, _ = rand.Read(raw[:]) // never fails
		for _, b := range raw {
			if most := 256 - 256%len(userCodeAlphabet); int(b) < most && len(out) < userCodeLength { // each letter as likely as any other
				out = append(out, userCodeAlphabet[int(b)%len(userCodeAlphabet)])
			}
		}
	}
	return string(out)
}

// showUserCode is how people read it.
func showUserCode(code string) string { return code[:userCodeLength/2] + "-" + code[userCodeLength/2:] }

// readUserCode takes a code as people type it: in either case, with or without the dash, with stray spaces (RFC 8628
// §6.1).
func readUserCode(text string) (string, bool) {
	if len(text) > maxUserCodeText {
		return "", false
	}
	var out []byte
	for _, c := range text {
		if c >= 'a' && c <= 'z' {
			c += 'A' - 'a'
		}
		switch {
		case strings.ContainsRune(userCodeAlphabet, c):
			out = append(out, byte(c))
		case !strings.ContainsRune(" -\t\r\n\u00a0\u2010\u2011\u2012\u2013\u2014", c):
			return "", false
		}
	}
	return string(out), len(out) == userCodeLength
}
