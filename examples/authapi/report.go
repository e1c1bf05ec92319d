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

var page = template.Must(template.New("report").Funcs(template.FuncMap{"bars": bars}).Parse(pageText))

// write puts the results on disk, for machines and for people.
func (r results) write(dir string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "report.json"), text, 0o600); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, "report.html"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(page.Execute(f, r), f.Close())
}

// A bar is one column of the histogram, in the units of its viewBox.
type bar struct {
	X, Y, Height float64
	Below        int // milliseconds
	Count        int
}

// bars draws a histogram 160 high, with 30 for each column.
func bars(counts []int) []bar {
	most := max(1, slices.Max(append([]int{1}, counts...)))
	var out []bar
	for i, n := range counts {
		h := 140 * float64(n) / float64(most)
		out = append(out, bar{X: float64(30 * i), Y: 150 - h, Height: h, Below: 1 << i, Count: n})
	}
	return out
}
