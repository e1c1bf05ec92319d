// Package openfile says in words what is known of descriptors that were left open.
package openfile

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/leaksafe/leaksafe/leakcheck/internal/advice"
	"github.com/leaksafe/leaksafe/leakcheck/internal/baseline"
	"github.com/leaksafe/leaksafe/leakcheck/internal/blame"
	"github.com/leaksafe/leaksafe/leakcheck/internal/failure"
	"github.com/leaksafe/leaksafe/leakcheck/internal/gostack"
	"github.com/leaksafe/leaksafe/leakcheck/internal/source"
)

// Group puts together what one change would fix: sockets and pipes, and one file opened often.
func Group(list []blame.Opened) [][]blame.Opened {
	return failure.Group(list, func(f blame.Opened) string {
		if strings.HasPrefix(f.Target, "/") {
			return f.Target + fmt.Sprint(f.Tests)
		}
		return f.Kind() + fmt.Sprint(f.Tests)
	})
}

// DescribeDoubt is the failure for descriptors that one of several tests has opened, with a command
// that finds out which.
func DescribeDoubt(group []blame.Opened) *failure.Failure {
	f := Describe(group, "all tests; opened by "+failure.OneOf(group[0].Tests))
	f.Add("find out", FindOut(group[0].Tests))
	return f
}

func Describe(group []blame.Opened, after string) *failure.Failure {
	first := group[0]
	f := &failure.Failure{Title: fmt.Sprintf("file leak: descriptor %d is still open after %s", first.Number, after)}
	if len(group) > 1 {
		f.Title = fmt.Sprintf("file leak: %d descriptors (%s) are still open after %s", len(group), numbers(group), after)
	}
	f.Add("open", Lines(group)...)
	f.Add("fix", advice.FileFix(first.Kind()))
	silence := fmt.Sprintf("leakcheck.IgnoreFile(%q)", first.Silence())
	if first.Kind() == "socket" {
		f.Add("shared?", "if several tests share it: use it once in TestMain, before m.Run, or give leakcheck.Main", silence)
	}
	f.Add("silence", silence+"; or "+baseline.Command())
	return f
}

// Shared says what to do when several tests share what has the connection.
func Shared(g *gostack.Goroutine, sockets []blame.Opened) []string {
	line := advice.Silence(g)
	if len(sockets) > 0 {
		line += fmt.Sprintf(", leakcheck.IgnoreFile(%q)", sockets[0].Silence())
	}
	return []string{"if several tests share it: use it once in TestMain, before m.Run, or give leakcheck.Main", line}
}

// Lines lists what the descriptors lead to.
func Lines(group []blame.Opened) (lines []string) {
	const most = 4
	for _, f := range group {
		if text := f.Describe(); !slices.Contains(lines, text) {
			lines = append(lines, text)
		}
	}
	if len(lines) > most {
		lines = append(lines[:most-1], fmt.Sprintf("and %d more", len(lines)-most+1))
	}
	return lines
}

// FindOut is a command that fails at the test that opens the descriptor: alone in its process each
// test is the only one to run.
func FindOut(names []string) string {
	var commands []string
	for _, name := range names {
		parts := strings.Split(name, "/")
		for i, part := range parts {
			parts[i] = "^" + regexp.QuoteMeta(part) + "$"
		}
		commands = append(commands, fmt.Sprintf("go test -run '%s' %s", strings.Join(parts, "/"), source.TestedPackage()))
	}
	return strings.Join(commands, " && ")
}

// Key names a descriptor in the baseline. Neither descriptors nor the numbers in temporary names
// are the same in the next run: the rest of the name is.
func Key(f blame.Opened) string {
	name := f.Kind()
	if strings.HasPrefix(f.Target, "/") {
		name = strings.TrimSuffix(filepath.Base(f.Target), " (deleted)")
	}
	return digits.ReplaceAllString(name, "#")
}

var digits = regexp.MustCompile("[0-9]+")

// numbers lists the descriptors' numbers: "5, 7, 9 and 20 more".
func numbers(group []blame.Opened) string {
	const most = 8
	var list []string
	for i, f := range group {
		if i == most {
			return fmt.Sprintf("%s and %d more", strings.Join(list, ", "), len(group)-most)
		}
		list = append(list, strconv.Itoa(f.Number))
	}
	return strings.Join(list, ", ")
}
