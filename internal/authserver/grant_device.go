package authserver

import (
	"errors"

	"gatehouse/internal/store"
)

// redeemDeviceCode is the device grant (RFC 8628 §3.4, §3.5). While nobody has decided, the device is told to wait; once
// a person has allowed it, the device code is an authorization code like any other: taken once, and a second time it ends
// what the first time gave.
func (s *Server) redeemDeviceCode(req *redemption) (*issue, error) {
	text := req.form.Get("device_code")
	if text == "" {
		return nil, refuse(codeInvalidRequest, "device_code_missing", "device_code is missing")
	}
	ctx := req.r.Context()
	polled, err := s.Store.PollDevice(ctx, hashDeviceCode(text), req.client.ID, store.Polling{Leeway: deviceLeeway, Step: deviceStep, Longest: deviceLongest})
	if err != nil {
		return nil, unavailable(err)
	}
	switch polled {
	case store.DevicePending:
		return nil, refuse(codeAuthPending, "authorization_pending", "nobody has typed in the code yet")
	case store.DeviceTooFast:
		return nil, refuse(codeSlowDown, "slow_down", "ask less often: wait 5 seconds longer from now on")
	case store.DeviceDenied:
		return nil, refuse(codeAccessDenied, "person_refused", "the person did not allow it")
	case store.DeviceExpired:
		return nil, refuse(codeExpiredToken, "device_code_expired", "nobody typed in the code in time; start again")
	}
	code, fresh, err := s.Store.TakeCode(ctx, hashDeviceCode(text))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, refuse(codeInvalidGrant, "device_code_unknown", "the device code is unknown, or it has expired")
	case err != nil:
		return nil, unavailable(err)
	case !fresh:
		return nil, s.codeReused(req, &code, "device code")
	case !req.now.Before(code.Expires):
		return nil, refuse(codeExpiredToken, "device_code_expired", "the device came back too late; start again")
	case code.Client != req.client.ID:
		return nil, refuse(codeInvalidGrant, "device_code_of_other_client", "the device code was issued to another client")
	}
	if err := checkResource(req.form["resource"], code.Resource); err != nil {
		return nil, err
	}
	return s.grantFor(req, &code)
}
