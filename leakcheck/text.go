package leakcheck

import (
	"fmt"
	"strings"

	"github.com/leaksafe/leaksafe/leakcheck/internal/advice"
	"github.com/leaksafe/leaksafe/leakcheck/internal/failure"
	"github.com/leaksafe/leaksafe/leakcheck/internal/source"
)

// head says what grows, and where.
func (r *result) head() *failure.Failure {
	worst := &r.sites[0]
	f := &failure.Failure{Title: worst.title(), File: worst.at.File, Line: worst.at.Line}
	f.Add(worst.fieldName(), worst.place())
	return f
}

// tail says the rest.
func (r *result) tail(page string) *failure.Failure {
	f := &failure.Failure{}
	worst := &r.sites[0]
	if g := worst.sample; worst.kind == kindGoroutine && g != nil {
		f.Add("state", g.State)
		f.Add("stands at", g.Where().String())
	}
	if strings.HasPrefix(worst.target, "/") {
		f.Add("such as", worst.target)
	}
	f.Add("kept by", worst.keptBy...)
	f.Add("rounds", r.roundsText(worst))
	f.Add("also", r.also()...)
	f.Add("remedy", r.remedy(worst)...)
	f.Add("to ignore", worst.silence()...)
	if page != "" {
		f.Add("graph", page)
	}
	return f
}

// also lists further sites, two lines each: those outside the standard library
// first, because there the cause can be mended.
func (r *result) also() []string {
	const listed = 4
	var sites, library []*site
	for i := range r.sites[1:] {
		s := &r.sites[1+i]
		switch {
		case s.verdict != r.verdict:
		case s.at.InLibrary():
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
		lines = append(lines, s.rate(), "  at "+s.place())
	}
	return lines
}

func (s *site) rate() string {
	switch {
	case s.kind == kindGoroutine:
		return source.Count(s.objectsPerOp, "goroutine") + " per operation left running"
	case s.kind == kindFile:
		return fmt.Sprintf("%s (%s) per operation left open", source.Count(s.objectsPerOp, "file descriptor"), s.opens)
	case s.steps:
		return fmt.Sprintf("heap grows %s per operation", source.Size(s.bytesPerOp))
	}
	return fmt.Sprintf("heap grows %s (+%s) per operation", source.Count(s.objectsPerOp, "object"), source.Size(s.bytesPerOp))
}

func (s *site) title() string {
	rate := s.rate()
	switch {
	case s.verdict == saturating:
		return "no leak: " + rate + " at first, then no more"
	case s.verdict == noisy:
		return "inconclusive: " + rate + ", but shrinks as well"
	case s.steps:
		return rate + ", in steps, at every scale"
	}
	return rate + ", in every round, at every scale"
}

func (s *site) fieldName() string {
	switch s.kind {
	case kindGoroutine:
		return "created at"
	case kindFile:
		return "opened at"
	}
	return "allocated at"
}

func (s *site) place() string {
	if s.at.File == "" {
		return "unknown: by a system call"
	}
	return s.at.String()
}

func (r *result) remedy(s *site) []string {
	switch s.verdict {
	case saturating:
		return nil
	case noisy:
		return []string{"raise Iterations, or take work that runs beside the operation out of the test"}
	}
	switch s.kind {
	case kindGoroutine:
		if s.sample != nil {
			return advice.Fix(s.sample)
		}
	case kindFile:
		return []string{"close it in the operation"}
	}
	mend := "let go of it when the operation ends, or bound what collects it"
	text := source.Line(s.at.File, s.at.Line)
	switch {
	case strings.Contains(text, "append("):
		mend = "declare the slice inside the operation, or bound it"
	case strings.Contains(text, "] ="):
		mend = "delete what you put, or bound the map"
	}
	return []string{mend, fmt.Sprintf("a cache that %d operations do not fill looks the same: fill it first, with leakcheck.Warmup(n)", r.operations)}
}

// silence is the option that overlooks the site; a file has none.
func (s *site) silence() []string {
	switch {
	case s.verdict == saturating, s.kind == kindFile:
		return nil
	case s.kind == kindGoroutine:
		return []string{fmt.Sprintf("leakcheck.IgnoreCreatedBy(%q)", s.at.Func)}
	}
	return []string{fmt.Sprintf("leakcheck.IgnoreSite(%q)", s.at.Func)}
}

// roundsText lists the growth in each active round, grouped by the number of
// operations: "20: +20 +20 +20   80: +80 +80".
func (r *result) roundsText(s *site) string {
	growth, format := s.objects, func(n int64) string { return fmt.Sprintf("%+d", n) }
	if s.steps && s.kind == kindHeap {
		growth, format = s.bytes, func(n int64) string { return source.Signed(n) }
	}
	var b strings.Builder
	before := 0
	for i, ops := range r.rounds {
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
