//go:build !unix

package web

import "net"

// raw is for systems on which an idle connection cannot be looked at: none is used a second time.
type raw struct{}

func newRaw(net.Conn) *raw { return nil }

func (*raw) alive() bool { return false }

func (*raw) swap([]byte, []byte) (n int, left []byte, err error) { return 0, nil, errUseless }
