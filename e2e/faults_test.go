//go:build e2e

package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A client that does not send the body that it announced is answered and cut off after half a minute, by the real
// process with its real clock.
func TestSlowBodyIsCut(t *testing.T) {
	t.Parallel()
	h, _, _ := quickstart(t)
	address := strings.TrimPrefix(h.url, "http://")
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	began := time.Now()
	if _, err := fmt.Fprintf(conn, "POST /register HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{", address); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(45 * time.Second))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("after %s: %v; want an answer that says why", time.Since(began), err)
	}
	resp.Body.Close()
	if resp.StatusCode/100 != 4 || time.Since(began) < 25*time.Second {
		t.Errorf("a slow body: %s after %s, want a refusal after 30 s", resp.Status, time.Since(began))
	}
	if _, err := conn.Read(make([]byte, 1<<10)); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection stays open")
	}
}

// A killed process loses nothing that it had confirmed: the database opens, the user is there, the server starts.
func TestKilledProcessStartsAgain(t *testing.T) {
	t.Parallel()
	h, user, pass := quickstart(t)
	before := sdkSession(t, h.url+"/mcp", user, pass)
	if _, err := before.ListTools(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if err := h.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-h.done
	h.start()
	after := sdkSession(t, h.url+"/mcp", user, pass)
	if _, err := after.ListTools(t.Context(), nil); err != nil {
		t.Errorf("after a kill: %v", err)
	}
}

// A connection that says nothing does not hold up the stop.
func TestStopWithIdleConnections(t *testing.T) {
	t.Parallel()
	h, _, _ := quickstart(t)
	for range 20 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(h.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	h.stop()
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("the stop took %s", took)
	}
}
