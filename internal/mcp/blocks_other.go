//go:build !amd64

package mcp

// blockSize is how many bytes are looked at before blocks is tried again.
const blockSize = 64

// blocks does nothing here: ordinary alone moves over strings.
func blocks([]byte) (moved int, escaped bool) { return 0, false }
