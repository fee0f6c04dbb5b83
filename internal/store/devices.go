package store

import (
	"context"
	"errors"
	"time"

	"gatehouse/internal/identity"
)

// DeviceRequest is a device that waits for a person to allow it (RFC 8628 §3.2).
type DeviceRequest struct {
	Hash       []byte // SHA-256 of the device code
	UserTag    []byte // MAC of the user code
	Client     identity.ClientID
	ClientName string
	Resource   string
	Scopes     identity.Scopes
	Address    string // from where the device asked
	CreatedAt  time.Time
	Expires    time.Time
	Interval   time.Duration // the least time between two polls
}

const deviceColumns = `device_hash, user_tag, client, client_name, resource, scopes, address, created_at, expires, poll_interval`

// waitingDevice is a request as the holder of its lock sees it.
type waitingDevice struct {
	DeviceRequest
	polledAt time.Time
	denied   bool
}

func scanDevice(r row) (d waitingDevice, err error) {
	var interval int64
	err = r.Scan(&d.Hash, &d.UserTag, &d.Client, &d.ClientName, &d.Resource, asScopes{&d.Scopes}, &d.Address,
		atTime{&d.CreatedAt}, atTime{&d.Expires}, &interval, atTime{&d.polledAt}, &d.denied)
	d.Interval = time.Duration(interval) * time.Microsecond
	return d, err
}

// SaveDeviceRequest stores a request that was just made; ErrExists when its user code is taken.
func (s *Store) SaveDeviceRequest(ctx context.Context, d DeviceRequest) error {
	return wrap("save device request", s.change(ctx, func(tx conn) error {
		n, err := tx.exec(ctx, `INSERT INTO device_requests (`+deviceColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			d.Hash, d.UserTag, d.Client, forDisplay(d.ClientName), d.Resource, d.Scopes.String(), d.Address,
			micros(d.CreatedAt), micros(d.Expires), d.Interval.Microseconds())
		if err == nil && n == 0 {
			return ErrExists
		}
		return err
	}))
}

// WaitingDevice finds a request that nobody has decided and that has not expired, by any of the tags that its user code
// may have.
func (s *Store) WaitingDevice(ctx context.Context, userTags [][]byte) (DeviceRequest, error) {
	for _, tag := range userTags {
		d, err := one(ctx, s.read, scanDevice, `SELECT `+deviceColumns+`, polled_at, denied FROM device_requests
			WHERE user_tag = ? AND denied = FALSE AND expires > ?`, tag, micros(s.now()))
		if !errors.Is(err, ErrNotFound) {
			return d.DeviceRequest, wrap("find device request", err)
		}
	}
	return DeviceRequest{}, wrap("find device request", ErrNotFound)
}

// AllowDevice turns a request that waits into an authorization code, whose hash is that of the device code: from then on
// what holds for codes holds for it. A request that was decided or has expired is ErrNotFound.
func (s *Store) AllowDevice(ctx context.Context, c Code) error {
	methods, err := toJSON(c.Methods)
	if err != nil {
		return wrap("allow device", err)
	}
	return wrap("allow device", s.change(ctx, func(tx conn) error {
		if err := tx.execOne(ctx, `DELETE FROM device_requests WHERE device_hash = ? AND denied = FALSE AND expires > ?`, c.Hash, micros(s.now())); err != nil {
			return err
		}
		return insertCode(ctx, tx, c, methods)
	}))
}

// DenyDevice ends a request that waits. One that was decided or has expired is ErrNotFound.
func (s *Store) DenyDevice(ctx context.Context, hash []byte) error {
	return wrap("deny device", s.change(ctx, func(tx conn) error {
		return tx.execOne(ctx, `UPDATE device_requests SET denied = TRUE WHERE device_hash = ? AND denied = FALSE AND expires > ?`, hash, micros(s.now()))
	}))
}

// DevicePoll says what a device that asks for its tokens is to be told (RFC 8628 §3.5).
type DevicePoll uint8

// The outcomes of PollDevice.
const (
	DeviceUnknown DevicePoll = iota // there is no such request, or it was allowed: see TakeCode
	DevicePending
	DeviceTooFast // and its interval has grown
	DeviceDenied
	DeviceExpired
)

// Polling is how devices are slowed down.
type Polling struct {
	Leeway  time.Duration // by which a poll may come early: networks do not keep time
	Step    time.Duration // by which the interval grows
	Longest time.Duration // to which it grows at most
}

// PollDevice notes a poll by the client that the request belongs to. To anybody else there is no such request.
func (s *Store) PollDevice(ctx context.Context, hash []byte, client identity.ClientID, p Polling) (out DevicePoll, err error) {
	err = s.change(ctx, func(tx conn) error {
		now := s.now()
		d, err := one(ctx, tx, scanDevice, `SELECT `+deviceColumns+`, polled_at, denied FROM device_requests WHERE device_hash = ? FOR UPDATE`, hash)
		switch {
		case errors.Is(err, ErrNotFound):
			return nil
		case err != nil:
			return err
		case d.Client != client:
			return nil
		case d.denied:
			out = DeviceDenied
			return nil
		case !now.Before(d.Expires):
			out = DeviceExpired
			return nil
		}
		out = DevicePending
		if !d.polledAt.IsZero() && now.Before(d.polledAt.Add(d.Interval-p.Leeway)) {
			out, d.Interval = DeviceTooFast, min(d.Interval+p.Step, p.Longest)
		}
		return tx.execOne(ctx, `UPDATE device_requests SET polled_at = ?, poll_interval = ? WHERE device_hash = ?`, micros(now), d.Interval.Microseconds(), hash)
	})
	return out, wrap("poll device request", err)
}
