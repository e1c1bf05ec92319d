package growth

import (
	"fmt"
	"strings"

	"github.com/leaksafe/leaksafe/leakcheck/internal/advice"
	"github.com/leaksafe/leaksafe/leakcheck/internal/failure"
	"github.com/leaksafe/leaksafe/leakcheck/internal/figure"
	"github.com/leaksafe/leaksafe/leakcheck/internal/gostack"
	"github.com/leaksafe/leaksafe/leakcheck/internal/judge"
	"github.com/leaksafe/leaksafe/leakcheck/internal/source"
)

// Failure is the verdict on the worst site as a person reads it, and the other sites in short. page
// is the file with the graph; empty where there is none.
func (r *Result) Failure(page string) *failure.Failure {
	worst := &r.Sites[0]
	at := worst.Where()
	f := &failure.Failure{Title: r.Title(), File: at.File, Line: at.Line}
	f.Add(worst.FieldName(), worst.Place())
	if worst.Caller.Func != "" {
		f.Add("called from", worst.Caller.String())
	}
	if worst.Kind == Goroutine && worst.sample != nil {
		advice.Goroutine(f, []*gostack.Goroutine{worst.sample})
	}
	if strings.HasPrefix(worst.target, "/") {
		f.Add("such as", worst.target)
	}
	f.Add("retained by", worst.Held.Lines...)
	f.Add("also", r.also()...)
	f.Add("fix", worst.Fix()...)
	f.Add("not a leak?", r.Doubt(worst)...)
	f.Add("silence", worst.Silence()...)
	if page != "" {
		f.Add("graph", page)
	}
	f.Add("measured", r.Measured(worst))
	return f
}

// also lists further sites, two to five lines each: those outside the standard library first,
// because there the cause can be changed.
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
	told := map[string]bool{} // each holder once
	for i, s := range sites {
		if i == listed {
			return append(lines, fmt.Sprintf("and %d more sites", len(sites)-listed))
		}
		lines = append(lines, s.Rate(), "  at "+s.Place())
		if s.Caller.Func != "" {
			lines = append(lines, "  called from "+s.Caller.String())
		}
		held := s.heldInShort(&r.Sites[0])
		if text := strings.Join(held, "\n"); !told[text] {
			told[text] = true
			lines = append(lines, held...)
		}
	}
	return lines
}

// heldInShort is what retains the objects of a further site, and its fix, where that is something
// else than what retains those of the worst. What a goroutine retains goes with the goroutine.
func (s *Site) heldInShort(worst *Site) []string {
	if len(s.Held.Lines) == 0 || s.Held.root() == worst.Held.root() {
		return nil
	}
	holder := "  retained by " + s.Held.Lines[0]
	if worst.Kind == Goroutine {
		return []string{holder}
	}
	return []string{holder, "  fix: " + strings.Join(s.Fix(), "; ")}
}

// root is what all paths from one holder have in common: the variable or goroutine.
func (h Held) root() string {
	if len(h.Steps) == 0 {
		return ""
	}
	variable, _, _ := strings.Cut(h.Steps[0].Name, "[")
	return h.Steps[0].Kind + " " + variable
}

// Where is the line that its author can change: the caller where the site is in another module.
func (s *Site) Where() source.Frame {
	if s.Caller.Func != "" {
		return s.Caller
	}
	return s.At
}

// Rate is what the site gains per operation: "+1.00 object (+24 B) per operation".
func (s *Site) Rate() string {
	switch {
	case s.Kind == Goroutine:
		return "+" + figure.Count(s.ObjectsPerOp, "goroutine") + " per operation"
	case s.Kind == File:
		return fmt.Sprintf("+%s (%s) per operation", figure.Count(s.ObjectsPerOp, "descriptor"), s.Opens)
	case s.steps:
		return "+" + figure.BytesEach(s.BytesPerOp) + " per operation"
	}
	return fmt.Sprintf("+%s (+%s) per operation", figure.Count(s.ObjectsPerOp, "object"), figure.BytesEach(s.BytesPerOp))
}

// Title is the verdict in one line.
func (r *Result) Title() string {
	if len(r.Sites) == 0 {
		return "ok: nothing grows"
	}
	s := &r.Sites[0]
	switch {
	case s.Verdict == judge.Saturating:
		return "ok: " + reasons[s.Reason]
	case s.steps:
		return s.what() + ": " + s.Rate() + ", in steps"
	}
	return fmt.Sprintf("%s: %s, in all %d rounds", s.what(), s.Rate(), r.active())
}

// reasons say why a site that gained something is no leak.
var reasons = map[judge.Reason]string{
	judge.Filled:  "grew at first, then stopped: a cache that filled",
	judge.Bounded: "grows and shrinks: a buffer that is emptied when it is full",
	judge.ByTime:  "grows with time, not with the operation: a window, or entries that expire",
	judge.Allowed: "grows by no more than leakcheck.AllowPerOp allows",
}

func (s *Site) what() string {
	switch s.Kind {
	case Goroutine:
		return "goroutine leak"
	case File:
		return "file leak"
	}
	return "memory leak"
}

// active is the number of rounds that ran the operation.
func (r *Result) active() int {
	n := 0
	for _, ops := range r.Rounds {
		if ops > 0 {
			n++
		}
	}
	return n
}

// FieldName says what happened at the site's line.
func (s *Site) FieldName() string {
	switch s.Kind {
	case Goroutine:
		return "started at"
	case File:
		return "opened at"
	}
	return "allocated at"
}

// Place is the site's line.
func (s *Site) Place() string {
	if s.At.File == "" {
		return "unknown: by a system call"
	}
	return s.At.String()
}

// Fix says what to change.
func (s *Site) Fix() []string {
	switch {
	case s.Verdict != judge.Growing:
		return nil
	case s.Kind == Goroutine && s.sample != nil:
		return advice.Fix(s.sample)
	case s.Kind == Goroutine:
		return []string{"end the goroutine when the operation ends"}
	case s.Kind == File:
		return []string{"close it in the operation"}
	}
	return []string{advice.HeapFix(source.Line(s.At.File, s.At.Line), s.Caller, s.Held.Steps)}
}

// Doubt says when the site is no leak.
func (r *Result) Doubt(s *Site) []string {
	if s.Kind != Heap || s.Verdict != judge.Growing || !advice.MayBeCache(s.Held.Steps) {
		return nil
	}
	return []string{fmt.Sprintf("a cache that holds more than %s entries: fill it first with leakcheck.Warmup(n)", figure.Number(r.Fills))}
}

// Silence is the option that makes NoGrowth ignore the site; a file has none.
func (s *Site) Silence() []string {
	switch {
	case s.Verdict == judge.Saturating, s.Kind == File:
		return nil
	case s.Kind == Goroutine:
		return []string{fmt.Sprintf("leakcheck.IgnoreCreatedBy(%q)", s.At.Name())}
	}
	return []string{fmt.Sprintf("leakcheck.IgnoreSite(%q)", s.At.Name())}
}

// Measured lists the growth in each round of the first three lengths, and sums up the rest:
// "20 operations: +20 +20 +20, 80: +80 +80, 320: +320 +320, then 10,240 in 15 rounds: +10,240".
func (r *Result) Measured(s *Site) string {
	growth, format := s.Objects, figure.SignedNumber
	if s.steps && s.Kind == Heap {
		growth, format = s.Bytes, figure.SignedBytes
	}
	var b strings.Builder
	var gained int64 // in the rest
	before, lengths, restOps, restRounds := 0, 0, 0, 0
	for i, ops := range r.Rounds {
		if ops == 0 {
			continue
		}
		if ops != before {
			lengths++
		}
		switch {
		case lengths > 3:
			restOps, restRounds, gained = restOps+ops, restRounds+1, gained+growth[i]
			continue
		case before == 0:
			fmt.Fprintf(&b, "%s:", figure.Plural(ops, "operation"))
		case ops != before:
			fmt.Fprintf(&b, ", %d:", ops)
		}
		before = ops
		b.WriteString(" " + format(growth[i]))
	}
	if restRounds > 0 {
		fmt.Fprintf(&b, ", then %s in %s: %s", figure.Number(restOps), figure.Plural(restRounds, "round"), format(gained))
	}
	return b.String()
}
