package main

import (
	_ "embed"
	"encoding/json"
	"errors"
	"html/template"
	"os"
	"path/filepath"
	"slices"
)

//go:embed report.html
var pageText string

var page = template.Must(template.New("report").
	Funcs(template.FuncMap{"bars": bars}).Parse(pageText))

// write puts the results on disk, for machines and for people.
func (r results) write(dir string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "report.json"), text, 0o600); err != nil {
		return err
	}
	file := filepath.Join(dir, "report.html")
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(page.Execute(f, r), f.Close())
}

// A bar is one row of the histogram: Count answers took less than Below milliseconds, and not less
// than the row before.
type bar struct {
	Below, Count int
	Percent      float64 // of the longest bar
}

// bars leaves out the empty rows at the end.
func bars(counts []int) []bar {
	most := max(1, slices.Max(append([]int{1}, counts...)))
	var out []bar
	for i, n := range counts {
		out = append(out, bar{Below: 1 << i, Count: n, Percent: 100 * float64(n) / float64(most)})
	}
	for len(out) > 0 && out[len(out)-1].Count == 0 {
		out = out[:len(out)-1]
	}
	return out
}
