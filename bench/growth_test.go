package main

import "testing"

// BenchmarkGrowth is one call through the whole program at each size. What it allocates must not depend on the size; see
// counts.go.
func BenchmarkGrowth(b *testing.B) {
	for _, stateless := range []bool{false, true} {
		b.Run(eraName(stateless), func(b *testing.B) {
			for _, s := range sizes {
				b.Run(s.name, func(b *testing.B) { callAtSize(b, s, stateless) })
			}
		})
	}
}

func callAtSize(b *testing.B, s size, stateless bool) {
	from, err := startIssuer()
	if err != nil {
		b.Fatal(err)
	}
	defer from.close()
	g, err := newGrown(s, stateless, b.TempDir(), from)
	if err != nil {
		b.Fatal(err)
	}
	defer g.close()
	file, err := g.config()
	if err != nil {
		b.Fatal(err)
	}
	runInProcess(b, file)
	if err := g.fill(); err != nil {
		b.Fatal(err)
	}
	c, err := g.dial()
	if err != nil {
		b.Fatal(err)
	}
	defer c.close()
	var requests [][]byte
	for i := range g.people {
		requests = append(requests, g.calls.append(nil, &g.subject, &g.people[i], 1))
	}
	next := 0
	countAllocations(b, func(first bool) {
		r, err := c.do(requests[next%len(requests)], nil)
		if err != nil || r.status != 200 || first && g.calls.check(r, 1) != nil {
			b.Fatalf("call %d: %v, status %d: %.500s", next, err, r.status, r.body)
		}
		next++
	})
}
