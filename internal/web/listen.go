package web

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// listenError says what to do about an address that cannot be taken.
func listenError(address string, err error) error {
	const setting = " (listen in the configuration file; without one, --listen or GATEHOUSE_LISTEN)"
	hint := "write it as host:port, such as 127.0.0.1:8080"
	_, port, splitErr := net.SplitHostPort(address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		hint = fmt.Sprintf("another program has port %s; stop it (`ss -ltnp 'sport = :%s'` or `lsof -i :%s` shows it), or choose another address"+setting, port, port, port)
	case errors.Is(err, syscall.EACCES):
		hint = fmt.Sprintf("port %s needs a privilege (CAP_NET_BIND_SERVICE); choose one above 1023"+setting, port)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		hint = "this machine has no such address; choose another" + setting
	case splitErr == nil:
		hint = "check the host name and the port" + setting
	}
	return fmt.Errorf("listen on %s: %w; %s", address, err, hint)
}
