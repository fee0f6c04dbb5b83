package mcp

import "golang.org/x/sys/cpu"

// blockSize is how many bytes plainBlocks looks at in one step.
const blockSize = 64

// plainBlocks moves over the inside of a string in steps of 64 bytes, as ordinary does in steps of 8, with no branch that
// depends on where escapes stand: in prose, to guess them wrong costs more than all else. It looks at n bytes from p on,
// of which the first is not escaped, and stops before a step that has anything in it but ASCII characters and escapes of
// one letter, or a backslash behind a backslash. It never ends between a backslash and what belongs to it. It needs AVX2.
//
//go:noescape
func plainBlocks(p *byte, n int) (moved int, escaped bool)

// blocks is plainBlocks where the processor can do it, and moves nowhere elsewhere.
func blocks(buf []byte) (moved int, escaped bool) {
	if len(buf) < blockSize || !cpu.X86.HasAVX2 {
		return 0, false
	}
	return plainBlocks(&buf[0], len(buf))
}
