package leaksafe

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A translation is the parts of a page that are the same in every language.
type translation struct {
	blocks   []string // fenced or indented code, in order
	headings int
	code     map[string]bool // inline code
	links    map[string]bool // targets, without the language in the name
	numbers  map[string]bool // in digits, in the prose
	words    map[string]bool // numbers that the prose has as English words
}

var (
	heading    = regexp.MustCompile(`^#+ `)
	inlineCode = regexp.MustCompile("`[^`]+`")
	target     = regexp.MustCompile(`\]\(([^)]+)\)`)
	number     = regexp.MustCompile(`\d+(?:[.,]\d+)*`)
	thousands  = regexp.MustCompile(`,(\d{3})\b`)
)

// translationOf reads a page.
func translationOf(page string) translation {
	tr := translation{code: map[string]bool{}, links: map[string]bool{}, numbers: map[string]bool{}, words: map[string]bool{}}
	var prose, block, anchors []string
	fenced := false
	for line := range strings.Lines(page) {
		line = strings.TrimRight(line, "\n")
		fence := strings.HasPrefix(line, "```")
		switch {
		case fence && fenced:
			tr.blocks = append(tr.blocks, strings.Join(block, "\n"))
			block, fenced = nil, false
		case fence:
			block, fenced = []string{line}, true
		case fenced:
			block = append(block, line)
		case strings.HasPrefix(line, "    "):
			tr.blocks = append(tr.blocks, line)
		default:
			if heading.MatchString(line) {
				tr.headings++
				anchors = append(anchors, anchorOf(line))
			}
			prose = append(prose, line)
		}
	}
	text := strings.Join(prose, "\n")
	text = target.ReplaceAllStringFunc(text, func(link string) string {
		to := target.FindStringSubmatch(link)[1]
		if anchor, ok := strings.CutPrefix(to, "#"); ok { // anchors are made of the language's headings
			to = fmt.Sprintf("#heading %d", 1+slices.Index(anchors, anchor))
		}
		tr.links[strings.ReplaceAll(to, ".ko.md", ".md")] = true
		return "]"
	})
	text = inlineCode.ReplaceAllStringFunc(text, func(code string) string {
		tr.code[strings.Join(strings.Fields(code), " ")] = true // it may continue on the next line
		return ""                                               // its numbers are compared with it
	})
	for _, n := range number.FindAllString(text, -1) {
		tr.numbers[thousands.ReplaceAllString(n, "$1")] = true
	}
	for _, word := range strings.Fields(text) {
		if digits := spelled[strings.ToLower(strings.Trim(word, ".,;:()"))]; digits != "" {
			tr.words[digits] = true
		}
	}
	return tr
}

var notInAnchor = regexp.MustCompile(`[^\pL\pN _-]`)

// anchorOf returns the anchor that GitHub gives a heading.
func anchorOf(heading string) string {
	text := strings.TrimSpace(strings.TrimLeft(heading, "#"))
	return strings.ReplaceAll(notInAnchor.ReplaceAllString(strings.ToLower(text), ""), " ", "-")
}

// spelled has the English words for which Korean uses digits: "a second" is "1초".
var spelled = map[string]string{
	"zero": "0", "a": "1", "an": "1", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6",
	"seven": "7", "eight": "8", "nine": "9", "ten": "10", "eleven": "11", "twelve": "12",
}

// without returns what is in all and in none of the others.
func without(all map[string]bool, others ...map[string]bool) (missing []string) {
	for _, what := range slices.Sorted(maps.Keys(all)) {
		if !slices.ContainsFunc(others, func(other map[string]bool) bool { return other[what] }) {
			missing = append(missing, what)
		}
	}
	return missing
}

// differences compares a page with its translation.
func differences(english, korean string) (all []string) {
	en, ko := translationOf(english), translationOf(korean)
	say := func(language, what string, missing []string) {
		if len(missing) > 0 {
			all = append(all, "the "+language+" page lacks "+what+": "+strings.Join(missing, ", "))
		}
	}
	if en.headings != ko.headings {
		all = append(all, fmt.Sprintf("the English page has %d headings, the Korean page %d", en.headings, ko.headings))
	}
	if len(en.blocks) != len(ko.blocks) {
		all = append(all, fmt.Sprintf("the English page has %d code blocks, the Korean page %d", len(en.blocks), len(ko.blocks)))
	}
	for i := range min(len(en.blocks), len(ko.blocks)) {
		if en.blocks[i] != ko.blocks[i] {
			all = append(all, fmt.Sprintf("code block %d differs; in English:\n%s\nin Korean:\n%s", i+1, en.blocks[i], ko.blocks[i]))
		}
	}
	if en.links["#heading 0"] || ko.links["#heading 0"] {
		all = append(all, "a link leads to no heading of its page")
	}
	say("Korean", "inline code", without(en.code, ko.code))
	say("English", "inline code", without(ko.code, en.code))
	say("Korean", "links", without(en.links, ko.links))
	say("English", "links", without(ko.links, en.links))
	say("Korean", "numbers", without(en.numbers, ko.numbers))
	say("English", "numbers", without(ko.numbers, en.numbers, en.words))
	return all
}

// TestTranslationsSayTheSame compares code blocks, inline code, links and numbers of each page with
// its Korean translation.
func TestTranslationsSayTheSame(t *testing.T) {
	var translated []string
	for _, pattern := range []string{"*.ko.md", "docs/*.ko.md"} {
		found, err := filepath.Glob(pattern)
		require.NoError(t, err)
		translated = append(translated, found...)
	}
	require.Contains(t, translated, "README.ko.md")
	english, err := filepath.Glob("docs/*.md")
	require.NoError(t, err)
	for _, name := range english {
		if !strings.HasSuffix(name, ".ko.md") {
			assert.Contains(t, translated, strings.TrimSuffix(name, ".md")+".ko.md")
		}
	}
	for _, name := range translated {
		korean, err := os.ReadFile(name)
		require.NoError(t, err)
		english, err := os.ReadFile(strings.TrimSuffix(name, ".ko.md") + ".md")
		require.NoError(t, err)
		for _, difference := range differences(string(english), string(korean)) {
			t.Errorf("%s: %s", name, difference)
		}
	}
}

// TestDifferencesOfTranslationsAreFound is the negative control: a change on one side is found.
func TestDifferencesOfTranslationsAreFound(t *testing.T) {
	const page = "# One\n\nSee [one](#one). Run `go test` 3 times, see [two](two.md), 1,000 runs.\n\n```sh\ngo vet ./...\n```\n\n    go build\n"
	korean := strings.ReplaceAll(page, "two.md", "two.ko.md")
	korean = strings.ReplaceAll(korean, "1,000 runs", "1000번")
	assert.Empty(t, differences(page, korean))
	for _, change := range [][2]string{
		{"# One", "One"}, {"`go test`", "`go tool`"}, {"`go test`", "go test"}, {"3 times", "4 times"}, {"3 times", "times"},
		{"#one", "#two"}, {"two.ko.md", "three.md"}, {"1000", "100"}, {"go vet ./...", "go vet ."}, {"```sh", "```"}, {"    go build\n", ""},
	} {
		assert.Contains(t, korean, change[0])
		assert.NotEmpty(t, differences(page, strings.ReplaceAll(korean, change[0], change[1])), "%q", change)
	}
}

// TestLinesOfPagesFit: prose of all READMEs and of docs wraps at 100 columns. Tables and code do
// not, and a line of nothing but one link cannot.
func TestLinesOfPagesFit(t *testing.T) {
	for name, text := range pages(t) {
		if filepath.Dir(name) == "." && !strings.HasPrefix(name, "README") {
			continue
		}
		for _, line := range longLines(text) {
			t.Errorf("%s: over 100 columns: %s", name, line)
		}
	}
	long := strings.Repeat("word ", 30)
	assert.Len(t, longLines("a\n"+long+"\n| "+long+" |\n```\n"+long+"\n```\n    "+long+"\n- "+long+"\n"), 2)
}

// longLines returns the lines of prose of more than 100 characters that have a space to break at.
func longLines(page string) (long []string) {
	fenced := false
	for line := range strings.Lines(page) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
		}
		text := strings.TrimSpace(line)
		prose := !fenced && !strings.HasPrefix(line, "    ") && !strings.HasPrefix(text, "|") && !strings.HasPrefix(text, "#")
		unbroken := inlineCode.ReplaceAllString(link.ReplaceAllString(text, ""), "")
		if prose && utf8.RuneCountInString(line) > 100 && strings.Contains(unbroken, " ") {
			long = append(long, line)
		}
	}
	return long
}

// TestLinesOfExamplesFit: examples are there to be read and copied, so that their Go files, and
// their tests as well, have no line of more than 100 columns.
func TestLinesOfExamplesFit(t *testing.T) {
	files := 0
	err := filepath.WalkDir("examples", func(name string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(name) != ".go" {
			return err
		}
		files++
		text, err := os.ReadFile(name)
		for _, n := range wideLines(string(text)) {
			t.Errorf("%s:%d: over 100 columns", name, n)
		}
		return err
	})
	require.NoError(t, err)
	assert.Greater(t, files, 50)
	fits, wide := "\t\t"+strings.Repeat("한", 92)+"\n", "\t\t"+strings.Repeat("한", 93)+"\n"
	assert.Equal(t, []int{2, 4}, wideLines(fits+wide+fits+wide))
}

// wideLines returns the numbers of the lines of more than 100 columns. A tab has four.
func wideLines(text string) (numbers []int) {
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.ReplaceAll(strings.TrimRight(line, "\r\n"), "\t", "    ")
		if utf8.RuneCountInString(line) > 100 {
			numbers = append(numbers, n)
		}
	}
	return numbers
}
