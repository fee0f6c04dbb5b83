//go:build unix && !solaris && !aix

package audit

import (
	"errors"
	"os"
	"syscall"
)

// tryLock takes the exclusive lock of f, which its closing or the end of the process frees, and reports whether it was
// free.
func tryLock(f *os.File) (free bool, err error) {
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}
