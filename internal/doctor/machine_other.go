//go:build !unix

package doctor

import "io/fs"

func freeSpace(string) (uint64, bool) { return 0, false }

func whoElse(string, fs.FileInfo) string { return "" }

func foreign(string) string { return "" }
