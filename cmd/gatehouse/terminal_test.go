//go:build linux

package main

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal opens both ends of a terminal: what a person types goes into keys, and comes out of screen.
func terminal(t *testing.T) (keys, screen *os.File) {
	t.Helper()
	keys, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { keys.Close() })
	if err := unix.IoctlSetPointerInt(int(keys.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(keys.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	screen, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { screen.Close() })
	return keys, screen
}

func echoes(t *testing.T, f *os.File) bool {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return state.Lflag&unix.ECHO != 0
}

func TestPasswordAtTerminal(t *testing.T) {
	t.Parallel()
	keys, screen := terminal(t)
	asked, said := make(chan struct{}), &bytes.Buffer{}
	s := streams{in: screen, err: writeFunc(func(p []byte) (int, error) {
		if strings.Contains(string(p), "Password") {
			close(asked)
		}
		return said.Write(p)
	})}
	go func() {
		<-asked
		_, _ = keys.WriteString("correct horse\n")
	}()
	got, err := passwordFrom(t.Context(), s, true)
	if err != nil || got.Reveal() != "correct horse" {
		t.Fatalf("got %q, %v", got.Reveal(), err)
	}
	if said.String() != "Password: \n" {
		t.Errorf("said %q", said)
	}
	if !echoes(t, screen) {
		t.Error("the terminal no longer shows what is typed")
	}
}

type writeFunc func(p []byte) (int, error)

func (f writeFunc) Write(p []byte) (int, error) { return f(p) }
