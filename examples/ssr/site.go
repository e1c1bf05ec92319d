package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// place returns where a page leaks, as text. It is empty if the page does not leak.
func (f finding) place() string {
	if f.Func == "" {
		return ""
	}
	return fmt.Sprintf("%+.2f objects, %+.0f bytes per request, allocated at %s, %s:%d\n    %s",
		f.ObjectsPerOp, f.BytesPerOp, f.Func, filepath.Base(f.File), f.Line,
		sourceLine(f.File, f.Line))
}

// sourceLine reads one line of a source file. It returns "" if the file cannot be read.
func sourceLine(file string, n int) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for i := 1; lines.Scan(); i++ {
		if i == n {
			return strings.TrimSpace(lines.Text())
		}
	}
	return ""
}
