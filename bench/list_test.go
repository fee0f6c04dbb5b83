package main

import "testing"

// BenchmarkList is the first page of a list of many tools, from socket to socket.
func BenchmarkList(b *testing.B) {
	for _, era := range []string{"session", "stateless"} {
		b.Run(era, func(b *testing.B) {
			h := startInProcess(b)
			s := *h.gatehouse
			s.paths = [2]string{"/many", "/many"}
			p := person{token: h.issuer.token("ada", "")}
			if err := p.begin(&s); err != nil {
				b.Fatal(err)
			}
			c, err := s.dial()
			if err != nil {
				b.Fatal(err)
			}
			defer c.close()
			request := p.listRequest(&s, "null", era == "stateless")
			countAllocations(b, func(bool) {
				if r, err := c.do(request, nil); err != nil || r.status != 200 || len(r.body) < 100<<10 {
					b.Fatal(err, r.status, len(r.body))
				}
			})
		})
	}
}
