package source

import (
	"fmt"
	"strconv"
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
	return fmt.Sprintf("%d %ss", n, what)
}

// Number is a whole number with its thousands apart: "6,000".
func Number(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Size is a number of bytes: "24 B", "94 KiB", "1.5 MiB".
func Size(bytes float64) string {
	switch {
	case bytes >= 1<<20:
		return fmt.Sprintf("%.1f MiB", bytes/(1<<20))
	case bytes >= 10<<10:
		return fmt.Sprintf("%.0f KiB", bytes/(1<<10))
	case bytes >= 10:
		return fmt.Sprintf("%.0f B", bytes)
	}
	return fmt.Sprintf("%.2g B", bytes)
}

// Signed is a change of a number of bytes: "+24 B", "-94 KiB", "0".
func Signed(bytes int64) string {
	switch {
	case bytes > 0:
		return "+" + Size(float64(bytes))
	case bytes < 0:
		return "-" + Size(float64(-bytes))
	}
	return "0"
}
