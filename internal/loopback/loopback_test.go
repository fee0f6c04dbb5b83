package loopback_test

import (
	"testing"

	"gatehouse/internal/loopback"
)

func TestIs(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{
		"localhost": true, "LocalHost": true, "127.0.0.1": true, "127.8.8.8": true, "::1": true, "::ffff:127.0.0.1": true,
		"": false, "localhost.": false, "localhost.example": false, "127.0.0.1.example": false, "127.1": false, "2130706433": false,
		"0177.0.0.1": false, "0.0.0.0": false, "::": false, "[::1]": false, "127.0.0.1:80": false, "10.0.0.1": false, "::ffff:10.0.0.1": false,
	} {
		if got := loopback.Is(host); got != want {
			t.Errorf("%q: %v, want %v", host, got, want)
		}
	}
}
