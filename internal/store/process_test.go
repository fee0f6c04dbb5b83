package store_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/store"
)

// childEnv makes the test binary do one task instead of testing, as another process on the same database.
const childEnv = "GATEHOUSE_STORE_CHILD"

func runChild(task string, args []string) int {
	ctx := context.Background()
	s, err := store.Open(ctx, store.Options{DSN: args[0]})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	switch task {
	case "disable":
		err = s.SetUserDisabled(ctx, args[1], true)
	case "fill": // until killed, telling what is certainly stored
		for i := 0; err == nil; i++ {
			id := fmt.Sprint("once ", i)
			if _, err = s.UseOnce(ctx, "test", id, time.Now().Add(time.Hour)); err == nil {
				fmt.Println(id)
			}
		}
	}
	if err := s.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func child(t *testing.T, task string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), childEnv+"="+task)
	cmd.Stderr = os.Stderr
	return cmd
}

// `gatehouse user disable` beside a server that is writing all the time.
func TestSecondProcessDisablesUser(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		f.user(t, "u")
		f.session(t, "u", "cookie")
		stop, stopped := make(chan struct{}), make(chan error)
		go func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					stopped <- nil
					return
				default:
				}
				if _, err := f.UseOnce(ctx, "test", fmt.Sprint(i), f.clock.Now()); err != nil {
					stopped <- err
					return
				}
			}
		}()
		must(t, child(t, "disable", f.dsn, "u").Run())
		close(stop)
		must(t, <-stopped)
		must(t, f.LoadRevocations(ctx))
		if !get(f.UserByID(ctx, "u"))(t).Disabled || !f.Revoked(identity.PersonKey{Issuer: issuer, Subject: "u"}, "", "", time.Time{}) {
			t.Error("the server does not notice what the command did")
		}
		_, err := f.BrowserSession(ctx, hash("cookie"))
		wantErr(t, err, store.ErrNotFound)
	})
}

func TestNothingIsLostWhenKilled(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		cmd := child(t, "fill", f.dsn)
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		var stored []string
		for lines := bufio.NewScanner(out); lines.Scan(); {
			stored = append(stored, lines.Text())
			if len(stored) == 30 {
				must(t, cmd.Process.Kill())
			}
		}
		if err := cmd.Wait(); err == nil || len(stored) < 30 {
			t.Fatalf("the child was not killed: %v, stored %d", err, len(stored))
		}
		reopened := open(t, f.dsn, f.clock)
		for _, id := range stored {
			if get(reopened.UseOnce(t.Context(), "test", id, f.clock.Now()))(t) {
				t.Errorf("%s was confirmed and is lost", id)
			}
		}
	})
}
