// Command gatehouse is an MCP gateway: it knows which person is behind every call. This package owns flags, signals,
// what is printed, and exit codes; everything else is in internal/app and below.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"gatehouse/internal/config"
	"gatehouse/internal/sandbox"
)

// version is set at link time: -ldflags "-X main.version=1.2.3".
var version = "dev"

func main() {
	sandbox.RunIfAsked()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait for what the first one asked for
	code := run(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr})
	stop()
	os.Exit(code)
}

// streams are where a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// input is standard input until ctx ends: a read that waits for a person must not outlast Ctrl-C. The goroutine of such a
// read ends with the process.
func (s streams) input(ctx context.Context) io.Reader {
	return readFunc(func(p []byte) (int, error) {
		read, err := until(ctx, func() ([]byte, error) {
			buf := make([]byte, len(p))
			n, err := s.in.Read(buf)
			return buf[:n], err
		})
		return copy(p, read), err
	})
}

// until returns what f returns, or the cause of ctx if that ends first. Then f goes on, on a goroutine of its own.
func until(ctx context.Context, f func() ([]byte, error)) ([]byte, error) {
	type result struct {
		data []byte
		err  error
	}
	done := make(chan result, 1)
	go func() {
		data, err := f()
		done <- result{data, err}
	}()
	select {
	case r := <-done:
		return r.data, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

type readFunc func(p []byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

// errSilent ends a command with exit code 1 when everything has been said already.
var errSilent = errors.New("already reported")

// run is main without the process: it returns the exit code, 0 for success and 1 for any error.
func run(ctx context.Context, args []string, s streams) int {
	root := newRoot(s)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var faults config.Faults
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errSilent):
	case errors.As(err, &faults):
		fmt.Fprintf(s.err, "%s\n%s wrong with the configuration; nothing was started or changed\n", config.Format(faults), count(len(faults), "thing is", "things are"))
	default:
		fmt.Fprintf(s.err, "gatehouse: %v\n", err)
	}
	return 1
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
