package web

import (
	"fmt"
	"net"
	"os"
)

// notifySystemd tells the service manager about a change of state (sd_notify(3)). It does nothing unless systemd
// started the program with Type=notify.
func notifySystemd(state string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("connect to %s: %w", path, err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(state)); err != nil {
		return fmt.Errorf("write to %s: %w", path, err)
	}
	return nil
}
