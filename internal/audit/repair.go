package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
)

// maxTail is how much of a segment's end repair looks at: more than the longest batch.
const maxTail = 16 << 20

// repairDay repairs the segments of one day, leaving alone those that another process writes to.
func repairDay(dir, day string, log *slog.Logger) error {
	paths, err := filepath.Glob(filepath.Join(dir, "audit-"+day+"-*.jsonl"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		aside, err := repair(path)
		if err != nil {
			return fmt.Errorf("check last record of %s: %w", path, err)
		}
		if aside != "" {
			log.Warn("unfinished audit record set aside", "file", aside)
		}
	}
	return nil
}

// repair cuts a file back to its last whole record, which a crash may have left behind it. What it cuts is kept in a
// file beside it, whose name it returns.
func repair(path string) (aside string, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if free, err := tryLock(f); err != nil || !free {
		return "", err
	}
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return "", err
	}
	start := max(0, end-maxTail)
	tail := make([]byte, end-start)
	if _, err := f.ReadAt(tail, start); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	good := wholeRecords(tail)
	if good == len(tail) {
		return "", nil
	}
	size := start + int64(good)
	aside = fmt.Sprintf("%s.%d.partial", path, size)
	if err := os.WriteFile(aside, tail[good:], 0o600); err != nil {
		return "", err
	}
	return aside, errors.Join(f.Truncate(size), f.Sync())
}

// wholeRecords returns the length of b up to its last line that is ended and valid JSON.
func wholeRecords(b []byte) int {
	end := bytes.LastIndexByte(b, '\n') + 1
	for end > 0 {
		begin := bytes.LastIndexByte(b[:end-1], '\n') + 1
		if json.Valid(b[begin:end]) {
			return end
		}
		end = begin
	}
	return 0
}
