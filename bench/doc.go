// Command bench measures what Gatehouse costs: CPU time, memory, connections and allocations for each call, beside nginx
// proxying the same calls to the same server without checking anything, in one interleaved run. Everything is on loopback
// and bounded in count and time. Each answer is checked for its id, its status and its content.
//
// The process of this program is load generator, MCP server behind the gateway (stub.go) and identity provider
// (issuer.go) at once; the gateway under test is a process of its own, pinned to another core where there are two. CPU
// time is the kernel's accounting of that process and its children. docs/performance.md explains the method.
//
// Beside the run: calls at a constant rate (rate.go), other programs (peer.go), two builds in turns (compare.go), and what
// takes the CPU time (profile.go), drawn (flame.go, svg.go). What needs no quiet machine: allocations (counts.go) and
// instructions (instructions.go).
package main
