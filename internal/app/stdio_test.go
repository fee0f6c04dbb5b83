package app

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"gatehouse/internal/sandbox"
)

// stdioServer names the address that the test binary asks when it plays a command target.
const stdioServer = "GATEHOUSE_TEST_STDIO_SERVER"

// brokenCommand makes the test binary a command that cannot start.
const brokenCommand = "GATEHOUSE_TEST_BROKEN"

func TestMain(m *testing.M) {
	sandbox.RunIfAsked()
	if os.Getenv(brokenCommand) != "" {
		fmt.Fprintln(os.Stderr, "the disk is full")
		os.Exit(3)
	}
	if address := os.Getenv(stdioServer); address != "" {
		serveStdio(address)
		return
	}
	os.Exit(m.Run())
}

// serveStdio is an MCP server with one tool, whose calls last until the address has taken a connection and closed it.
func serveStdio(address string) {
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var m struct {
			ID     json.RawMessage
			Method string
		}
		if json.Unmarshal(lines.Bytes(), &m) != nil || m.ID == nil {
			continue
		}
		result := `{}`
		switch m.Method {
		case "initialize":
			result = `{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"held","version":"1"}}`
		case "tools/list":
			result = `{"tools":[{"name":"held","inputSchema":{"type":"object"}}]}`
		case "tools/call":
			if conn, err := net.Dial("tcp", address); err == nil {
				_, _ = conn.Read(make([]byte, 1)) // until the test closes it
			}
			result = `{"content":[{"type":"text","text":"done"}]}`
		}
		fmt.Printf(`{"jsonrpc":"2.0","id":%s,"result":%s}`+"\n", m.ID, result)
	}
}

// A reload that takes a command away ends its process only when the call in flight has its answer.
func TestReloadLetsCallsOfCommandsFinish(t *testing.T) {
	t.Parallel()
	gate, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer gate.Close()
	h := openHouse(t, fmt.Sprintf(`
targets:
  demo: {demo: true}
  held: {command: [%q], env: {%s: %q}}
endpoints:
  /mcp: {issuers: [gatehouse], access: any_signed_in, targets: [demo, held]}
`, os.Args[0], stdioServer, gate.Addr()))
	c := connect(h, "/mcp")
	answered := make(chan answer, 1)
	request := c.request(t.Context(), http.MethodPost, c.message("tools/call", `{"name":"held___held","arguments":{}}`))
	go func() {
		a, err := c.tryPost(request)
		if err != nil {
			t.Errorf("the call in flight: %v", err)
		}
		answered <- a
	}()
	inFlight, err := gate.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if !h.reload(demoOnly) {
		t.Fatal("the new configuration was not taken")
	}
	c.mustCall("demo___echo", `{"text":"meanwhile"}`)
	select { // longer than a process has to end by itself: that nothing happens has no other sign
	case a := <-answered:
		t.Fatalf("the reload ended the call in flight: %s", a)
	case <-time.After(3 * time.Second):
	}
	inFlight.Close()
	if a := <-answered; a.text() != "done" {
		t.Errorf("the call that was in flight ended with %s", a)
	}
}
