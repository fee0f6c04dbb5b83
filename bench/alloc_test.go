package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"gatehouse/internal/app"
	"gatehouse/internal/config"
)

// startInProcess runs a whole Gatehouse in this process, so that its allocations can be counted. The load generator and
// the MCP server allocate nothing of their own while calls are made.
func startInProcess(b *testing.B) *house {
	b.Helper()
	h := &house{dir: b.TempDir()}
	var err error
	if h.issuer, err = startIssuer(); err != nil {
		b.Fatal(err)
	}
	if h.session, err = startStub(false, 0); err != nil {
		b.Fatal(err)
	}
	if h.stateless, err = startStub(true, 0); err != nil {
		b.Fatal(err)
	}
	for range manyTargets {
		s, err := startStub(false, toolsEach-4)
		if err != nil {
			b.Fatal(err)
		}
		h.many = append(h.many, s)
	}
	addr, err := freeAddress()
	if err != nil {
		b.Fatal(err)
	}
	if h.metrics, err = freeAddress(); err != nil {
		b.Fatal(err)
	}
	file := filepath.Join(h.dir, "gatehouse.yaml")
	if err := os.WriteFile(file, []byte(h.config(addr)), 0o600); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		for _, s := range append(h.many, h.session, h.stateless) {
			s.close()
		}
		h.issuer.close()
	})
	runInProcess(b, file)
	h.gatehouse = &subject{name: "gatehouse", addr: addr, paths: [2]string{"/mcp", "/modern"}}
	one := person{token: h.issuer.token("first", "")}
	if err := h.gatehouse.ready(&one); err != nil {
		b.Fatal(err)
	}
	return h
}

// runInProcess runs a Gatehouse of a configuration file until the benchmark ends.
func runInProcess(b *testing.B, file string) {
	b.Helper()
	b.Setenv("BENCH_MASTER_KEY", masterKey[len("BENCH_MASTER_KEY="):])
	c, err := config.Load(file)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	a, err := app.New(ctx, app.Options{Config: c, Log: slog.New(slog.NewJSONHandler(quiet{}, nil)), Level: new(slog.LevelVar), Version: "bench"})
	if err != nil {
		cancel()
		b.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx, nil) }()
	b.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
}

// quiet takes log records, which have to be written to be counted.
type quiet struct{}

func (quiet) Write(b []byte) (int, error) { return len(b), nil }

// BenchmarkCall is one call through the whole program, from socket to socket.
func BenchmarkCall(b *testing.B) {
	for _, k := range kinds {
		if k.bad {
			continue
		}
		b.Run(k.name, func(b *testing.B) {
			h := startInProcess(b)
			p := person{token: h.issuer.token("ada", "")}
			if err := p.begin(h.gatehouse); err != nil {
				b.Fatal(err)
			}
			c, err := dial(h.gatehouse.addr)
			if err != nil {
				b.Fatal(err)
			}
			defer c.close()
			request := k.call.append(nil, h.gatehouse, &p, 1)
			once := func() {
				if r, err := c.do(request, nil); err != nil || k.call.check(r, 1) != nil {
					b.Fatal(err, fmt.Sprintf("%.300s", r.body))
				}
			}
			for range 100 {
				once()
			}
			runtime.GC()
			b.ReportAllocs()
			for b.Loop() {
				if r, err := c.do(request, nil); err != nil || r.status != 200 {
					b.Fatal(err, r.status)
				}
			}
		})
	}
}
