package growth

import (
	"fmt"
	"strings"

	"github.com/leaksafe/leaksafe/leakcheck/internal/advice"
	"github.com/leaksafe/leaksafe/leakcheck/internal/failure"
	"github.com/leaksafe/leaksafe/leakcheck/internal/source"

	"github.com/leaksafe/leaksafe/leakcheck/internal/judge"
)

// Head says what grows, and where.
func (r *Result) Head() *failure.Failure {
	worst := &r.Sites[0]
	f := &failure.Failure{Title: worst.Title(), File: worst.At.File, Line: worst.At.Line}
	f.Add(worst.FieldName(), worst.Place())
	return f
}

// Tail says the rest.
func (r *Result) Tail(page string) *failure.Failure {
	f := &failure.Failure{}
	worst := &r.Sites[0]
	if g := worst.sample; worst.Kind == Goroutine && g != nil {
		f.Add("state", g.State)
		f.Add("stands at", g.Where().String())
	}
	if strings.HasPrefix(worst.target, "/") {
		f.Add("such as", worst.target)
	}
	f.Add("kept by", worst.KeptBy...)
	f.Add("rounds", r.RoundsText(worst))
	f.Add("also", r.also()...)
	f.Add("remedy", r.Remedy(worst)...)
	f.Add("to ignore", worst.Silence()...)
	if page != "" {
		f.Add("graph", page)
	}
	return f
}

// also lists further sites, two lines each: those outside the standard library
// first, because there the cause can be mended.
func (r *Result) also() []string {
	const listed = 4
	var sites, library []*Site
	for i := range r.Sites[1:] {
		s := &r.Sites[1+i]
		switch {
		case s.Verdict != r.Verdict:
		case s.At.InLibrary():
			library = append(library, s)
		default:
			sites = append(sites, s)
		}
	}
	sites = append(sites, library...)
	var lines []string
	for i, s := range sites {
		if i == listed {
			return append(lines, fmt.Sprintf("and %d more sites", len(sites)-listed))
		}
		lines = append(lines, s.Rate(), "  at "+s.Place())
	}
	return lines
}

func (s *Site) Rate() string {
	switch {
	case s.Kind == Goroutine:
		return source.Count(s.ObjectsPerOp, "goroutine") + " per operation left running"
	case s.Kind == File:
		return fmt.Sprintf("%s (%s) per operation left open", source.Count(s.ObjectsPerOp, "file descriptor"), s.Opens)
	case s.steps:
		return fmt.Sprintf("heap grows %s per operation", source.Size(s.BytesPerOp))
	}
	return fmt.Sprintf("heap grows %s (+%s) per operation", source.Count(s.ObjectsPerOp, "object"), source.Size(s.BytesPerOp))
}

func (s *Site) Title() string {
	rate := s.Rate()
	switch {
	case s.Verdict == judge.Saturating:
		return "no leak: " + rate + " at first, then no more"
	case s.Verdict == judge.Noisy:
		return "inconclusive: " + rate + ", but shrinks as well"
	case s.steps:
		return rate + ", in steps, at every scale"
	}
	return rate + ", in every round, at every scale"
}

func (s *Site) FieldName() string {
	switch s.Kind {
	case Goroutine:
		return "created at"
	case File:
		return "opened at"
	}
	return "allocated at"
}

func (s *Site) Place() string {
	if s.At.File == "" {
		return "unknown: by a system call"
	}
	return s.At.String()
}

func (r *Result) Remedy(s *Site) []string {
	switch s.Verdict {
	case judge.Saturating:
		return nil
	case judge.Noisy:
		return []string{"raise Iterations, or take work that runs beside the operation out of the test"}
	}
	switch s.Kind {
	case Goroutine:
		if s.sample != nil {
			return advice.Fix(s.sample)
		}
	case File:
		return []string{"close it in the operation"}
	}
	mend := "let go of it when the operation ends, or bound what collects it"
	text := source.Line(s.At.File, s.At.Line)
	switch {
	case strings.Contains(text, "append("):
		mend = "declare the slice inside the operation, or bound it"
	case strings.Contains(text, "] ="):
		mend = "delete what you put, or bound the map"
	}
	return []string{mend, fmt.Sprintf("a cache that %d operations do not fill looks the same: fill it first, with leakcheck.Warmup(n)", r.Operations)}
}

// Silence is the option that overlooks the site; a file has none.
func (s *Site) Silence() []string {
	switch {
	case s.Verdict == judge.Saturating, s.Kind == File:
		return nil
	case s.Kind == Goroutine:
		return []string{fmt.Sprintf("leakcheck.IgnoreCreatedBy(%q)", s.At.Func)}
	}
	return []string{fmt.Sprintf("leakcheck.IgnoreSite(%q)", s.At.Func)}
}

// RoundsText lists the growth in each active round, grouped by the number of
// operations: "20: +20 +20 +20   80: +80 +80".
func (r *Result) RoundsText(s *Site) string {
	growth, format := s.Objects, func(n int64) string { return fmt.Sprintf("%+d", n) }
	if s.steps && s.Kind == Heap {
		growth, format = s.Bytes, func(n int64) string { return source.Signed(n) }
	}
	var b strings.Builder
	before := 0
	for i, ops := range r.Rounds {
		if ops == 0 {
			continue
		}
		if ops != before {
			if before != 0 {
				b.WriteString("  ")
			}
			fmt.Fprintf(&b, " %d:", ops)
			before = ops
		}
		b.WriteString(" " + format(growth[i]))
	}
	return strings.TrimSpace(b.String())
}
