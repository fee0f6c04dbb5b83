package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"gatehouse/internal/app"
	"gatehouse/internal/config"
	"gatehouse/internal/telemetry"
	"gatehouse/internal/web"
)

// startInProcess runs a whole Gatehouse in this process, so that its allocations can be counted. The load generator and
// the MCP server allocate nothing of their own while calls are made.
func startInProcess(b *testing.B) *house {
	b.Helper()
	h := &house{dir: b.TempDir()}
	b.Cleanup(h.close)
	if err := h.surround(); err != nil {
		b.Fatal(err)
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
	log, err := telemetry.NewLogger(telemetry.LogOptions{Writer: quiet{}, Format: telemetry.FormatJSON, RequestID: web.RequestID})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	a, err := app.New(ctx, app.Options{Config: c, Log: log, Level: new(slog.LevelVar), Version: "bench"})
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
			countAllocations(b, func(first bool) {
				r, err := c.do(request, nil)
				if err != nil || r.status != 200 || first && k.call.check(r, 1) != nil {
					b.Fatal(err, r.status, fmt.Sprintf("%.300s", r.body))
				}
			})
		})
	}
}

// BenchmarkRefuse is one call with a bad token, from socket to socket.
func BenchmarkRefuse(b *testing.B) {
	h := startInProcess(b)
	good := h.issuer.token("mallory", "")
	for name, token := range map[string]string{
		"wrong signature": good[:len(good)-80] + strings.Repeat("A", 12) + good[len(good)-68:],
		"unknown key":     h.issuer.token("mallory", "other-key"),
	} {
		b.Run(name, func(b *testing.B) {
			c, err := dial(h.gatehouse.addr)
			if err != nil {
				b.Fatal(err)
			}
			defer c.close()
			request := call{tool: "echo", text: smallText}.append(nil, h.gatehouse, &person{token: token}, 1)
			countAllocations(b, func(bool) {
				if r, err := c.do(request, nil); err != nil || r.status != 401 {
					b.Fatal(err, r.status)
				}
			})
		})
	}
}

// countAllocations counts what do allocates, after some first times, at which do may look closer.
func countAllocations(b *testing.B, do func(first bool)) {
	b.Helper()
	for range 100 {
		do(true)
	}
	runtime.GC()
	b.ReportAllocs()
	for b.Loop() {
		do(false)
	}
}
