//go:build unix

package target

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Processes of several targets share the places: an idle one of another target makes way, one in use does not.
func TestPlacesAreShared(t *testing.T) {
	t.Parallel()
	places := NewPlaces(5, 2)
	with := func(name string) *Target {
		o := command("raw")
		o.Name, o.Command.Places = name, places
		return started(t, o)
	}
	one, two := with("one"), with("two")
	for _, tg := range []*Target{one, two} { // each has its own process, for its catalogue
		if _, err := tg.Catalog(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	ada, bob := Caller{Principal: person("ada")}, Caller{Principal: person("bob")}
	idle, err := one.Connect(t.Context(), ada, nil)
	if err != nil {
		t.Fatal(err)
	}
	pid := mustTool(t, idle, "pid")
	idle.Close()
	used := connected(t, two, ada, nil)
	again := ada
	again.Capabilities = []byte(`{"roots":{}}`)
	third := connected(t, two, again, nil) // her third: the idle one has to go
	awaitEnd(t, pid)
	if _, err := one.Connect(t.Context(), ada, nil); err == nil || !strings.Contains(err.Error(), "processes_per_person") {
		t.Errorf("a third process in use: %v", err)
	}
	connected(t, one, bob, nil)
	if _, err := two.Connect(t.Context(), bob, nil); err == nil || !errors.Is(err, errNoPlace) || !strings.Contains(err.Error(), "limits.processes ") {
		t.Errorf("a sixth process: %v", err)
	}
	third.Close()
	if conn, err := two.Connect(t.Context(), bob, nil); err != nil { // not held up by a back-off
		t.Errorf("when there is room: %v", err)
	} else {
		conn.Close()
	}
	mustTool(t, used, "pid")
}

func TestPlacesAreWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		places := NewPlaces(1, 1)
		first, err := places.take(t.Context(), "ada")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := places.take(t.Context(), "bob"); !errors.Is(err, errNoPlace) {
			t.Fatalf("nobody leaves: %v", err)
		}
		first.leave()
		first.leave()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := places.take(ctx, "bob"); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("nobody has left: %v", err)
		}
		time.AfterFunc(time.Minute, first.free)
		at, err := places.take(t.Context(), "bob")
		if err != nil {
			t.Fatal(err)
		}
		first.free()
		if places.taken != 1 || len(places.leaving) != 0 || fmt.Sprint(places.byPerson) != "map[bob:1]" {
			t.Errorf("%d taken, %v leaving, %v", places.taken, places.leaving, places.byPerson)
		}
		at.free()
		places.Resize(2, 2)
		for range 2 {
			if _, err := places.take(t.Context(), "bob"); err != nil {
				t.Error(err)
			}
		}
		if places.taken != 2 {
			t.Errorf("%d taken", places.taken)
		}
	})
}
