// Package figure writes numbers for a reader: counts, and sizes in bytes.
package figure

import (
	"fmt"
	"strconv"
	"strings"
)

// Count is a number of things per operation: "1.00 object", "0.20 objects".
func Count(n float64, what string) string {
	s := fmt.Sprintf("%.2f", n)
	if n > 0 && n < 0.01 {
		s = fmt.Sprintf("%.2g", n)
	}
	if s != "1.00" {
		what += "s"
	}
	return s + " " + what
}

// Plural is a whole number of things: "1 goroutine", "3 goroutines".
func Plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return Number(n) + " " + what + "s"
}

// Number is a whole number with its thousands apart: "6,000".
func Number(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// SignedNumber is a change of a whole number: "+6,000", "-3", "+0".
func SignedNumber(n int64) string {
	if n < 0 {
		return Number(int(n))
	}
	return "+" + Number(int(n))
}

// Bytes is a number of bytes: "512 B", "1.5 MiB", "94 KiB".
func Bytes(n int64) string {
	if n < 1<<10 {
		return strconv.FormatInt(n, 10) + " B"
	}
	unit, size := -1, float64(n)
	for size >= 1<<10 && unit < 3 {
		size, unit = size/(1<<10), unit+1
	}
	decimals := 1
	if size >= 10 {
		decimals = 0
	}
	return strings.TrimSuffix(strconv.FormatFloat(size, 'f', decimals, 64), ".0") + [...]string{" KiB", " MiB", " GiB", " TiB"}[unit]
}

// SignedBytes is a change of a number of bytes: "+24 B", "-94 KiB", "0".
func SignedBytes(n int64) string {
	switch {
	case n > 0:
		return "+" + Bytes(n)
	case n < 0:
		return "-" + Bytes(-n)
	}
	return "0"
}

// BytesEach is a number of bytes per operation: as Bytes, and "0.25 B".
func BytesEach(n float64) string {
	if n < 10 {
		return fmt.Sprintf("%.2g B", n)
	}
	return Bytes(int64(n + 0.5))
}
