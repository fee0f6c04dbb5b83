package main

import (
	"fmt"
	"os"
	"slices"
	"text/tabwriter"
	"time"
)

// secureLine is what was measured of one kind. Resumed is the share of TLS sessions that were resumed, of those that calls
// began; -1 when they began none.
type secureLine struct {
	line
	resumed, baseResumed float64
}

// printSecure measures kinds of call with TLS and prints their table.
func (p plan) printSecure(h *house, kinds []secureKind) error {
	say("starting what has TLS")
	s, err := newSecureHouse(h)
	if err != nil {
		return err
	}
	defer s.close()
	people := h.people(min(p.people, 200))
	var table []secureLine
	for _, k := range kinds {
		l, err := p.measureSecure(s, k, people)
		if err != nil {
			return fmt.Errorf("%s: %w\n%s", k.name, err, tail(s.plain.process.log.String()+s.secure.process.log.String()))
		}
		table = append(table, l)
	}
	fmt.Println()
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "TLS\tx nginx\tleast\tmost\tus CPU\tnginx us\tcalls/s\tp50\tnew connections\tresumed\tby nginx\t")
	for _, l := range table {
		fmt.Fprintf(w, "%s\t%.2f\t%.2f\t%.2f\t%.1f\t%.1f\t%.0f\t%s\t%.2f %%\t%s\t%s\t\n", l.kind.name, median(l.ratios), slices.Min(l.ratios), slices.Max(l.ratios),
			micro(median(l.gateway)), micro(median(l.base)), median(l.rate), l.p50.Round(10*time.Microsecond), 100*l.connections, share(l.resumed), share(l.baseResumed))
	}
	return w.Flush()
}

func share(f float64) string {
	if f < 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f %%", 100*f)
}

// measureSecure interleaves Gatehouse and nginx, as measure does.
func (p plan) measureSecure(s *secureHouse, k secureKind, people []person) (secureLine, error) {
	l := secureLine{line: line{kind: kind{name: k.name}}, resumed: -1, baseResumed: -1}
	gateway, base := s.subjects(k)
	people = slices.Clone(people) // sessions belong to one gateway and one endpoint
	if err := beginAll(gateway, people); err != nil {
		return l, err
	}
	calls := max(200, p.calls*k.share/100)
	behind := map[string]*stub{"/mcp": s.h.session, "/tls": s.tls1, "/h2": s.tls2, "/once": s.once}[k.path]
	work := func(to *subject, calls int) load {
		return load{to: to, call: k.call, people: people, connections: 16, calls: calls, fresh: k.fresh}
	}
	for _, one := range []*subject{gateway, base} {
		if _, err := work(one, max(2*len(people), 400)).run(); err != nil {
			return l, err
		}
	}
	for round := range p.rounds {
		opened, resumed := behind.connections.Load(), k.counts(gateway, behind)
		cpu, out, err := cost(work(gateway, calls))
		if err != nil {
			return l, err
		}
		l.connections += float64(behind.connections.Load()-opened) / float64(calls) / float64(p.rounds)
		l.resumed = k.counts(gateway, behind).since(resumed)
		resumed = k.counts(base, behind)
		baseCPU, _, err := cost(work(base, calls))
		if err != nil {
			return l, err
		}
		l.baseResumed = k.counts(base, behind).since(resumed)
		l.rate = append(l.rate, out.rate())
		l.p50, l.p99 = quantile(out.times, 0.5), quantile(out.times, 0.99)
		l.gateway, l.base = append(l.gateway, cpu), append(l.base, baseCPU)
		l.ratios = append(l.ratios, float64(cpu)/float64(baseCPU))
		say("%s: round %d of %d: %.1f us, %.2f x", k.name, round+1, p.rounds, micro(cpu), l.ratios[round])
	}
	return l, nil
}

// subjects returns Gatehouse and nginx as this kind speaks to them. nginx has no HTTP/2 towards servers here: it speaks
// HTTP/1.1 over TLS to the same server in that place.
func (s *secureHouse) subjects(k secureKind) (gateway, base *subject) {
	g, b := *s.plain, *s.nginx[0]
	if k.front != "" {
		g, b = *s.secure, *s.nginx[1]
		s.spoken(&g, k.front, k.resume)
		s.spoken(&b, k.front, k.resume)
	}
	g.paths[0], b.paths[0] = k.path, k.path
	if k.path == "/h2" {
		b.paths[0] = "/tls"
	}
	return &g, &b
}

// tlsCounts are TLS handshakes that calls make necessary.
type tlsCounts struct{ all, resumed int64 }

// counts looks in front where each call connects anew, else behind.
func (k secureKind) counts(front *subject, behind *stub) tlsCounts {
	if k.fresh {
		return tlsCounts{front.handshakes.Load(), front.resumed.Load()}
	}
	if behind.once {
		return tlsCounts{behind.connections.Load(), behind.resumed.Load()}
	}
	return tlsCounts{}
}

func (c tlsCounts) since(before tlsCounts) float64 {
	if c.all == before.all {
		return -1
	}
	return float64(c.resumed-before.resumed) / float64(c.all-before.all)
}
