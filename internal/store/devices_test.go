package store_test

import (
	"errors"
	"reflect"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/store"
)

var polling = store.Polling{Leeway: time.Second, Step: 5 * time.Second, Longest: time.Minute}

func (f *fixture) device(t *testing.T, name string) store.DeviceRequest {
	t.Helper()
	d := store.DeviceRequest{
		Hash: hash("device " + name), UserTag: hash("user code " + name), Client: "client", ClientName: "mcp-remote",
		Resource: "https://x/mcp", Scopes: identity.Scopes{"openid", "mcp:tools"}, Address: "192.0.2.1",
		CreatedAt: f.clock.Now(), Expires: f.clock.Now().Add(10 * time.Minute), Interval: 5 * time.Second,
	}
	must(t, f.SaveDeviceRequest(t.Context(), d))
	return d
}

func deviceCode(d store.DeviceRequest, grant string) store.Code {
	return store.Code{
		Hash: d.Hash, Grant: identity.GrantID(grant), Person: identity.PersonKey{Issuer: issuer, Subject: "u"}, Client: d.Client,
		Resource: d.Resource, Scopes: d.Scopes, Expires: d.Expires,
	}
}

func (f *fixture) poll(t *testing.T, d store.DeviceRequest) store.DevicePoll {
	t.Helper()
	return get(f.PollDevice(t.Context(), d.Hash, d.Client, polling))(t)
}

func TestDeviceRoundTrip(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		want := f.device(t, "d")
		wantErr(t, f.SaveDeviceRequest(ctx, want), store.ErrExists)
		other := want
		other.Hash = hash("another device")
		wantErr(t, f.SaveDeviceRequest(ctx, other), store.ErrExists) // two devices with one user code
		got := get(f.WaitingDevice(ctx, [][]byte{hash("tag under a newer key"), want.UserTag}))(t)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("\n got %+v\nwant %+v", got, want)
		}
		_, err := f.WaitingDevice(ctx, [][]byte{hash("x")})
		wantErr(t, err, store.ErrNotFound)
		f.clock.Advance(10 * time.Minute)
		_, err = f.WaitingDevice(ctx, [][]byte{want.UserTag})
		wantErr(t, err, store.ErrNotFound)
		wantErr(t, f.AllowDevice(ctx, deviceCode(want, "g")), store.ErrNotFound)
		wantErr(t, f.DenyDevice(ctx, want.Hash), store.ErrNotFound)
	})
}

func TestDevicePolls(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		ctx, d := t.Context(), f.device(t, "d")
		for i, c := range []struct {
			after time.Duration
			want  store.DevicePoll
		}{
			{0, store.DevicePending}, {5 * time.Second, store.DevicePending}, {4 * time.Second, store.DevicePending}, // early by the leeway
			{3 * time.Second, store.DeviceTooFast}, {5 * time.Second, store.DeviceTooFast}, // 10 s by now, then 15 s
			{14 * time.Second, store.DevicePending},
		} {
			f.clock.Advance(c.after)
			if got := f.poll(t, d); got != c.want {
				t.Errorf("poll %d: %d, want %d", i, got, c.want)
			}
		}
		for range 20 {
			if got := f.poll(t, d); got != store.DeviceTooFast {
				t.Fatalf("a poll at once: %d", got)
			}
		}
		f.clock.Advance(time.Minute)
		if got := f.poll(t, d); got != store.DevicePending {
			t.Errorf("a minute later: %d: the interval grows without bound", got)
		}
		if got := get(f.PollDevice(ctx, d.Hash, "another client", polling))(t); got != store.DeviceUnknown {
			t.Errorf("another client polls: %d", got)
		}
		if got := get(f.PollDevice(ctx, hash("x"), d.Client, polling))(t); got != store.DeviceUnknown {
			t.Errorf("an unknown code: %d", got)
		}
		f.clock.Advance(10 * time.Minute)
		if got := f.poll(t, d); got != store.DeviceExpired {
			t.Errorf("too late: %d", got)
		}
		must(t, f.PurgeExpired(ctx))
		if got := f.poll(t, d); got != store.DeviceExpired {
			t.Errorf("too late, after a purge: %d", got)
		}
		f.clock.Advance(time.Hour)
		must(t, f.PurgeExpired(ctx))
		if got := f.poll(t, d); got != store.DeviceUnknown {
			t.Errorf("the row stays for ever: %d", got)
		}
	})
}

func TestDeviceIsDecidedOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		denied := f.device(t, "denied")
		must(t, f.DenyDevice(ctx, denied.Hash))
		wantErr(t, f.AllowDevice(ctx, deviceCode(denied, "x")), store.ErrNotFound)
		wantErr(t, f.DenyDevice(ctx, denied.Hash), store.ErrNotFound)
		_, err := f.WaitingDevice(ctx, [][]byte{denied.UserTag})
		wantErr(t, err, store.ErrNotFound)
		if got := f.poll(t, denied); got != store.DeviceDenied {
			t.Errorf("a denied device: %d", got)
		}

		d := f.device(t, "d")
		var wg sync.WaitGroup
		var mu sync.Mutex
		decided := 0
		for i := range 20 {
			wg.Go(func() {
				var err error
				if i%2 == 0 {
					err = f.AllowDevice(ctx, deviceCode(d, "g"))
				} else {
					err = f.DenyDevice(ctx, d.Hash)
				}
				switch {
				case err == nil:
					mu.Lock()
					decided++
					mu.Unlock()
				case !errors.Is(err, store.ErrNotFound):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if decided != 1 {
			t.Errorf("decided %d times", decided)
		}
	})
}

// Once allowed, a device is a code: taken once, and dead when what it rests on is revoked.
func TestAllowedDeviceIsACode(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		ctx, d := t.Context(), f.device(t, "d")
		must(t, f.AllowDevice(ctx, deviceCode(d, "g")))
		if got := f.poll(t, d); got != store.DeviceUnknown {
			t.Errorf("an allowed device still waits: %d", got)
		}
		for _, wantFresh := range []bool{true, false} {
			code, fresh, err := f.TakeCode(ctx, d.Hash)
			if err != nil || fresh != wantFresh || code.Grant != "g" || code.Resource != d.Resource {
				t.Errorf("fresh %v, %v, %+v", fresh, err, code)
			}
		}
		revoked := f.device(t, "revoked")
		must(t, f.AllowDevice(ctx, deviceCode(revoked, "g2")))
		must(t, f.RevokePerson(ctx, identity.PersonKey{Issuer: issuer, Subject: "u"}, "test"))
		if _, fresh, err := f.TakeCode(ctx, revoked.Hash); err != nil || fresh {
			t.Errorf("the code outlives its person's access: fresh %v, %v", fresh, err)
		}
	})
}
