package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// listed is what one page of a list of many tools costs.
type listed struct {
	bytes     int
	cpu, copy time.Duration // of Gatehouse, and of a process that only writes as many bytes
	ratio     float64       // of the two, a round
}

func (l listed) String() string {
	return fmt.Sprintf("%d KiB, %.0f us of CPU; %.2f x a process that only copies those bytes to its socket (%.0f us)",
		l.bytes>>10, micro(l.cpu), l.ratio, micro(l.copy))
}

// measureList reads the first page of the tools of all targets, and the same bytes from a process that does nothing but
// write them. The two take turns. Each is asked by ten people in turn, on one connection.
func (h *house) measureList(rounds, n int, stateless bool) (listed, error) {
	s := *h.gatehouse
	s.paths = [2]string{"/many", "/many"}
	people := h.people(10)
	if err := beginAll(&s, people); err != nil {
		return listed{}, err
	}
	requests := make([][]byte, len(people))
	for i := range people {
		requests[i] = people[i].listRequest(&s, "null", stateless)
	}
	var out listed
	_, answer, err := readLists(&s, requests, 2*len(requests))
	if err != nil {
		return out, err
	}
	out.bytes = answer
	copier, err := startCopier(answer)
	if err != nil {
		return out, err
	}
	defer copier.process.stop()
	if _, _, err := readLists(copier, requests, 100); err != nil {
		return out, err
	}
	var cpu, base []time.Duration
	var ratios []float64
	for range rounds {
		mine, _, err := readLists(&s, requests, n)
		if err != nil {
			return out, err
		}
		other, _, err := readLists(copier, requests, n)
		if err != nil {
			return out, err
		}
		cpu, base, ratios = append(cpu, mine), append(base, other), append(ratios, float64(mine)/float64(other))
	}
	out.cpu, out.copy, out.ratio = median(cpu), median(base), median(ratios)
	return out, nil
}

// listRequest asks for a page of the tools; the cursor is JSON, null for the first page.
func (p *person) listRequest(s *subject, cursor string, stateless bool) []byte {
	params, more := `{"cursor":`+cursor+`}`, ""
	if stateless {
		params = `{"cursor":` + cursor + `,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",` +
			`"io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1"}}}`
		more = "Mcp-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/list\r\n"
	} else if p.session != "" {
		more = "Mcp-Protocol-Version: 2025-11-25\r\nMcp-Session-Id: " + p.session + "\r\n"
	}
	body := `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":` + params + `}`
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n"+
		"Accept: application/json, text/event-stream\r\n%sContent-Length: %d\r\n\r\n%s", s.path(stateless), s.addr, p.token, more, len(body), body)
}

// readLists sends the requests in turn, n in all, and returns what one of them costs and how long the answer is.
func readLists(s *subject, requests [][]byte, n int) (cpu time.Duration, bytes int, err error) {
	c, err := s.dial()
	if err != nil {
		return 0, 0, err
	}
	defer c.close()
	cpu = -s.process.cpu()
	for i := range n {
		r, err := c.do(requests[i%len(requests)], nil)
		if err != nil {
			return 0, 0, err
		}
		if r.status != 200 || bytes != 0 && len(r.body) != bytes {
			return 0, 0, fmt.Errorf("tools/list: status %d, %d bytes after %d", r.status, len(r.body), bytes)
		}
		bytes = len(r.body)
	}
	return (cpu + s.process.cpu()) / time.Duration(n), bytes, nil
}

// startCopier starts this program once more, as a server that writes so many bytes for each request.
func startCopier(size int) (*subject, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	p, err := start([]string{"BENCH_PINNED=1"}, self, "copy", addr, strconv.Itoa(size))
	if err != nil {
		return nil, err
	}
	s := &subject{name: "copier", addr: addr, process: p}
	for range 400 {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			return s, c.Close()
		}
		time.Sleep(10 * time.Millisecond)
	}
	p.stop()
	return nil, fmt.Errorf("the process that copies does not listen at %s", addr)
}

// copyCommand is that server: the least that any server in Go does for such an answer.
func copyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "copy ADDRESS BYTES", Short: "Answer each request with so many bytes", Args: cobra.ExactArgs(2), Hidden: true,
		RunE: func(_ *cobra.Command, args []string) error {
			size, err := strconv.Atoi(args[1])
			if err != nil {
				return err
			}
			l, err := net.Listen("tcp", args[0])
			if err != nil {
				return err
			}
			answer := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", size)
			answer = append(answer, make([]byte, size)...)
			for {
				conn, err := l.Accept()
				if err != nil {
					return err
				}
				go func() {
					defer conn.Close()
					in := bufio.NewReaderSize(conn, 16<<10)
					for {
						_, length, err := readHead(in)
						if _, over := io.CopyN(io.Discard, in, int64(length)); errors.Join(err, over) != nil {
							return
						}
						if _, err := conn.Write(answer); err != nil {
							return
						}
					}
				}()
			}
		},
	}
}

func (h *house) printLists(rounds int) error {
	say("lists")
	for _, stateless := range []bool{false, true} {
		l, err := h.measureList(rounds, 300, stateless)
		if err != nil {
			return err
		}
		fmt.Printf("tools/list, first page of %d tools, %s era: %s\n", manyTargets*toolsEach, eraName(stateless), l)
	}
	return nil
}
