//go:build !linux

package sandbox

// Landlock returns 0: only Linux has it.
func Landlock() int { return 0 }

func (f *fence) close() error { return ErrNoFence }
