//go:build !race

package mapper_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
)

// The types and pairs of a user's program: each pair does not map, and its BuildError names lines
// of code that make it map.
const solutionTypes = `
type Item struct { Name string; Cents int64 }
type Order struct { ID int64; Buyer string; Items []Item; Gift *Item }
type ItemDTO struct { Title string; Price string }
type OrderDTO struct { ID string; Customer string; Items []ItemDTO; Gift *ItemDTO }
type Status int
func (s Status) String() string { return "active" }
type Base struct { ID int; Name string }
type Audit struct { By, Name string }
type Doc struct { Base; Audit }
type DocDTO struct { ID int; Name, By string }
type Row struct { UserID int ` + "`json:\"id\"`" + `; UserName string }
type API struct { ID int ` + "`json:\"id\"`" + `; Name string ` + "`json:\"user_name\"`" + ` }
type Camel struct { UserId, URL string }
type Money struct { cents *int }
type Locked struct { mu sync.Mutex; N int; p *int }
type F[T any] struct { V T }
type G[T any] struct { V T }
type Null struct { Bytes [16]byte; Valid bool }
func (Null) String() string { return "null" }
type Text struct { ID int; Valid bool }
func (Text) MarshalText() ([]byte, error) { return []byte("null"), nil }
type Mixed struct { Text; Source string }
type Deep struct { In struct { A, B int }; Out *struct { C int } }
type DeepDTO struct { In struct { A, X int }; Out *struct { D int } }
type Note struct { Text string; N int }
type NoteDTO struct { Body string; Extra string; At time.Time; N int }
type Self struct { *Self; X int }
type Happening struct { time.Time; Name string }
type Two struct { N int; V *twin.Value }
`

var solutionPairs = []struct{ name, src, dst, opts string }{
	{"a rename in a list", "Order", "OrderDTO", ""},
	{"an enum to text", "F[Status]", "F[string]", ""},
	{"a text to an enum", "F[string]", "F[Status]", ""},
	{"a number to text", "struct { N int; B bool }", "struct { N, B string }", ""},
	{"no text method", "F[url.Userinfo]", "F[string]", ""},
	{"no rule", "F[bool]", "F[[]int]", ""},
	{"ambiguous source", "Doc", "DocDTO", ""},
	{"ambiguous destination", "DocDTO", "Doc", ""},
	{"tags on one side", "Row", "API", `mapper.Tag("json")`},
	{"two names that differ in case", "struct { UserID, Userid int }", "struct { UserId int }", ""},
	{"MatchCase", "Camel", "struct { UserID, Url string }", "mapper.Options{MatchCase: true}"},
	{"snake names", "Camel", "struct { User_id, URL string }", ""},
	{"a value type of one's own", "F[Money]", "G[Money]", ""},
	{"a value type of another package", "F[atomic.Pointer[int]]", "G[atomic.Pointer[int]]", ""},
	{"a value type in many places", "struct { A, B Money; L []Money; P *Money }", "struct { L []Money; P *Money; A, B Money }", ""},
	{"a lock", "F[*Locked]", "G[*Locked]", ""},
	{"a lock by value", "F[Locked]", "G[Locked]", ""},
	{"a lock alone", "F[sync.Mutex]", "G[sync.Mutex]", ""},
	{"a pointer to a lock", "F[*sync.Mutex]", "G[*sync.Mutex]", ""},
	{"a channel", "F[chan int]", "G[chan int]", ""},
	{"a function", "F[func()]", "G[func()]", ""},
	{"a null with a text", "F[Null]", "F[*string]", ""},
	{"nested structs without a name", "Deep", "DeepDTO", ""},
	{"several missing fields", "Note", "NoteDTO", ""},
	{"nothing in common", "Base", "struct { X, Y bool }", ""},
	{"generic types of other packages", "F[F[url.URL]]", "G[struct { W url.URL }]", ""},
	{"a package whose path does not end in its name", "F[F[odd.Value]]", "G[struct { W odd.Value }]", ""},
	{"its types in generic types only", "struct { X int }", "G[F[odd.Value]]", ""},
	{"an embedded struct", "struct { X int }", "Self", ""},
	{"an unread field", "Note", "struct { N int }", "mapper.Options{AllRead: true}"},
	{"arrays of other lengths", "F[[2]int]", "F[[3]int]", ""},
	{"an interface that is not implemented", "F[int]", "F[fmt.Stringer]", ""},
	{"an error", "F[error]", "G[error]", ""},
	{"an unexported interface", "Base", "F[flag.Value]", ""},
	{"a rename in maps of lists of pointers", "struct { M map[string][]*Item }", "struct { M map[string][]*ItemDTO }", ""},
	{"a rename in a generic list", "F[[]F[Item]]", "F[[]F[ItemDTO]]", ""},
	{"a rename behind pointers to pointers", "F[**Item]", "F[**ItemDTO]", ""},
	{"pointers at the top", "*Order", "*OrderDTO", ""},
	{"a list at the top", "[]Order", "[]OrderDTO", ""},
	{"keys of maps", "F[map[Item]bool]", "F[map[ItemDTO]bool]", ""},
	{"a generic type of a map", "F[map[string]Item]", "F[map[string]ItemDTO]", ""},
	{"inside another package's generic type", "atomic.Pointer[Item]", "F[atomic.Pointer[Item]]", ""},
	{"a For", "F[Item]", "F[ItemDTO]", "mapper.For[Item, ItemDTO](mapper.Options{Parse: true})"},
	{"arrays of lists", "F[[2][]Item]", "F[[2][]ItemDTO]", ""},
	{"a null of a renamed struct", "F[sql.Null[Item]]", "F[*ItemDTO]", ""},
	{"more than a null, with its text method", "F[Mixed]", "F[string]", ""},
	{"more than a time, with its text method", "F[Happening]", "F[string]", ""},
	{"more than a time, with its text method, back", "F[*string]", "F[*Happening]", ""},
	{"a function with parameters", "F[func(int, ...[]Item) (Item, error)]", "G[func(int, ...[]Item) (Item, error)]", ""},
	{"functions that differ", "F[func(func() error) Item]", "F[func(...Item) ItemDTO]", ""},
	{"an unsafe pointer", "F[unsafe.Pointer]", "G[unsafe.Pointer]", ""},
	{"a type that only another package can name", "F[*os.File]", "G[*os.File]", ""},
	{"a type that only another package can name, by value", "F[thing.Opaque]", "G[thing.Opaque]", ""},
	{"a type that only another package can name, on one side", "F[thing.Opaque]", "F[struct { In int }]", ""},
	{"two packages of one name", "F[odd.Value]", "F[twin.Value]", ""},
	{"two packages of one name in generic types", "F[F[odd.Value]]", "F[F[[]twin.Value]]", ""},
	{"two packages of one name, ambiguous", "struct { N int }", "struct { odd.Value; *Two }", ""},
	{"a package with this one's name", "F[thing.Thing]", "F[Item]", "mapper.Lenient()"},
	{"a package with this one's name, strictly", "F[Item]", "F[thing.Thing]", ""},
}

// program runs a main package in this module, and returns what it prints for each pair.
func program(t *testing.T, opts func(i int) [][]string) []string {
	t.Helper()
	var b strings.Builder
	b.WriteString("package main\n\nimport (\n\t\"database/sql\"\n\t\"flag\"\n\t\"fmt\"\n\t\"net/url\"\n\t\"os\"\n\t\"sync\"\n\t\"sync/atomic\"\n\t\"time\"\n\t\"unsafe\"\n\n\t\"github.com/leaksafe/leaksafe/mapper\"\n\todd \"github.com/leaksafe/leaksafe/mapper/testdata/go-odd.v1\"\n" +
		"\ttestdataodd \"github.com/leaksafe/leaksafe/mapper/testdata/go-odd.v1\"\n\ttwin \"github.com/leaksafe/leaksafe/mapper/testdata/twin/odd\"\n" +
		"\ttwinodd \"github.com/leaksafe/leaksafe/mapper/testdata/twin/odd\"\n\tthing \"github.com/leaksafe/leaksafe/mapper/testdata/twin/mapper\"\n" +
		"\ttwinmapper \"github.com/leaksafe/leaksafe/mapper/testdata/twin/mapper\"\n)\n")
	b.WriteString(solutionTypes + "\nvar _ sql.NullInt64\nvar _ odd.Value\nvar _ flag.Value\nvar _ atomic.Bool\nvar _ url.URL\nvar _ sync.Mutex\nvar _ time.Time\nvar _ *os.File\nvar _ testdataodd.Value\nvar _ twin.Value\nvar _ twinodd.Value\nvar _ thing.Thing\nvar _ twinmapper.Thing\nvar _ unsafe.Pointer\n\nfunc main() {\n")
	for i, p := range solutionPairs {
		for _, o := range opts(i) {
			if p.opts != "" {
				o = append([]string{p.opts}, o...)
			}
			fmt.Fprintf(&b, "\t{\n\t\t_, err := mapper.New[%s, %s](\n\t\t\t%s,\n\t\t)\n\t\tfmt.Print(err, \"\\x00\")\n\t}\n", p.src, p.dst, strings.Join(append(o, "nil"), ",\n\t\t\t"))
		}
	}
	b.WriteString("}\n")
	file := filepath.Join(t.TempDir(), "main.go")
	require.NoError(t, os.WriteFile(file, []byte(b.String()), 0o600))
	cmd := exec.CommandContext(t.Context(), "go", "run", file)
	cmd.Dir = ".."
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s\n%s", out, b.String())
	return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
}

// solutions reads the lines of code that a BuildError's text offers for each problem. A set of
// lines belongs together.
func solutions(text string) (problems [][][]string) {
	for _, line := range strings.Split(text, "\n")[1:] {
		code, ok := strings.CutPrefix(line, "\t\t")
		if !ok {
			problems = append(problems, nil)
			if strings.HasSuffix(line, "for example") {
				problems[len(problems)-1] = [][]string{{}}
			}
			continue
		}
		code, _, _ = strings.Cut(strings.TrimSuffix(code, ","), " // ")
		last := &problems[len(problems)-1]
		if len(*last) == 1 && len((*last)[0]) == 0 || len(*last) == 1 && strings.HasSuffix(text[:strings.Index(text, line)], ",\n") {
			(*last)[0] = append((*last)[0], code)
			continue
		}
		*last = append(*last, []string{code})
	}
	return problems
}

// TestSolutionsBuild pastes the lines that every BuildError offers into the call of New, one
// alternative after the other. The program must compile, and the Mapper must build.
func TestSolutionsBuild(t *testing.T) {
	testgate.Seconds(t)
	if testing.Short() {
		t.Skip("compiles two programs: run without -short")
	}
	texts := program(t, func(int) [][]string { return [][]string{nil} })
	require.Len(t, texts, len(solutionPairs))
	var from []string
	offered := map[int][][]string{}
	for i, text := range texts {
		require.NotEqual(t, "<nil>", text, solutionPairs[i].name)
		problems := solutions(text)
		most := 0
		for _, p := range problems {
			assert.NotEmpty(t, p, "%s: no line of code in\n%s", solutionPairs[i].name, text)
			most = max(most, len(p))
		}
		for choice := range most {
			var opts []string
			for _, p := range problems {
				if len(p) == 0 {
					continue
				}
				for _, line := range p[min(choice, len(p)-1)] {
					if !slices.Contains(opts, line) {
						opts = append(opts, line)
					}
				}
			}
			offered[i] = append(offered[i], opts)
			from = append(from, fmt.Sprintf("%s, choice %d\n%s\npasted:\n%s", solutionPairs[i].name, choice, text, strings.Join(opts, "\n")))
		}
	}
	built := program(t, func(i int) [][]string { return offered[i] })
	require.Len(t, built, len(from))
	for i, result := range built {
		assert.Equal(t, "<nil>", result, from[i])
	}
	t.Logf("%d pairs, %d choices of lines pasted and built", len(texts), len(built))
}
