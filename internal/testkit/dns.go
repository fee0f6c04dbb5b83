package testkit

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// Resolver speaks real DNS to a server that gives every name the addresses one after the other, the last one for ever: a
// name can be public when somebody looks, and lead inside when it is dialled.
func Resolver(t testing.TB, answers ...string) *net.Resolver {
	t.Helper()
	var asked atomic.Int32
	next := func(kind dnsmessage.Type) (netip.Addr, bool) {
		addr := netip.MustParseAddr(answers[min(int(asked.Load()), len(answers)-1)])
		if addr.Is4() != (kind == dnsmessage.TypeA) {
			return addr, false
		}
		asked.Add(1)
		return addr, true
	}
	return &net.Resolver{PreferGo: true, StrictErrors: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			answerDNS(server, next)
		}()
		return client, nil
	}}
}

// answerDNS serves the stream form of RFC 7766, which Go's resolver speaks over any conn that is not a packet conn.
func answerDNS(conn net.Conn, next func(dnsmessage.Type) (netip.Addr, bool)) {
	head := make([]byte, 2)
	for {
		if _, err := io.ReadFull(conn, head); err != nil {
			return
		}
		msg := make([]byte, int(head[0])<<8|int(head[1]))
		if _, err := io.ReadFull(conn, msg); err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(msg) != nil {
			return
		}
		m.Response, m.Additionals = true, nil
		q := m.Questions[0]
		if addr, ok := next(q.Type); ok {
			answer := dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 0}}
			if addr.Is4() {
				answer.Body = &dnsmessage.AResource{A: addr.As4()}
			} else {
				answer.Body = &dnsmessage.AAAAResource{AAAA: addr.As16()}
			}
			m.Answers = []dnsmessage.Resource{answer}
		}
		out, err := m.Pack()
		if err != nil {
			return
		}
		if _, err := conn.Write(append([]byte{byte(len(out) >> 8), byte(len(out))}, out...)); err != nil {
			return
		}
	}
}
