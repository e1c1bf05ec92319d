package remote

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/leaksafe/leaksafe/leakcheck/internal/profile"
)

// patience is how long one request may take: a heap profile of a large service takes seconds.
const patience = 60 * time.Second

// A fetcher reads the profiles of one service.
type fetcher struct {
	base   string // ends in a slash
	client *http.Client
}

func newFetcher(o Options) (*fetcher, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("remote: %q is no address of a service: give one such as http://host:6060", o.URL)
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = "/debug/pprof"
	}
	u.Path = strings.TrimSuffix(u.Path, "/") + "/"
	u.RawQuery, u.Fragment = "", ""
	f := &fetcher{base: u.String(), client: o.Client}
	if f.client == nil {
		f.client = &http.Client{Timeout: patience}
	}
	return f, nil
}

// errMissing says that the service has no such profile.
var errMissing = errors.New("no such page")

// get returns the body of a page, which the caller closes.
func (f *fetcher) get(ctx context.Context, page string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.base+page, nil)
	if err != nil {
		return nil, err
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("remote: %w", err) // it has the address
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusNotFound:
		return nil, fmt.Errorf("remote: %s: %w: import net/http/pprof in the service, or give the address of its pprof pages", f.shown(page), errMissing)
	case http.StatusUnauthorized, http.StatusForbidden:
		return nil, fmt.Errorf("remote: %s: %s: give a user and a password as in http://user:password@host, or an address behind the authorization", f.shown(page), resp.Status)
	}
	return nil, fmt.Errorf("remote: %s: %s: the service's log may say why", f.shown(page), resp.Status)
}

// shown is a page's address without a password.
func (f *fetcher) shown(page string) string {
	u, err := url.Parse(f.base + page)
	if err != nil {
		return page
	}
	return u.Redacted()
}

// fetch reads all profiles once. It makes the service collect garbage once, and twice if leaked
// asks for the goroutineleak profile.
func (f *fetcher) fetch(ctx context.Context, leaked bool) (Measurement, error) {
	m := Measurement{Leaked: -1}
	if err := f.numbers(ctx, &m); err != nil {
		return m, err
	}
	heap, err := f.profile(ctx, "heap") // as of the collection that numbers asked for
	if err != nil {
		return m, err
	}
	if m.heap, err = heapSites(heap); err != nil {
		return m, fmt.Errorf("remote: %s: %w", f.shown("heap"), err)
	}
	goroutines, err := f.profile(ctx, "goroutine")
	if err != nil {
		return m, err
	}
	m.goroutines = goroutineSites(goroutines)
	m.Goroutines = m.goroutines.total()
	if !leaked {
		return m, nil
	}
	switch p, err := f.profile(ctx, "goroutineleak"); {
	case err == nil:
		m.leaked = goroutineSites(p)
		m.Leaked = m.leaked.total()
	case !errors.Is(err, errMissing):
		return m, err
	}
	return m, nil
}

func (f *fetcher) profile(ctx context.Context, page string) (*profile.Profile, error) {
	body, err := f.get(ctx, page)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	p, err := profile.Read(body)
	if err != nil {
		return nil, fmt.Errorf("remote: %s: %w", f.shown(page), err)
	}
	return p, nil
}

// numbers reads the runtime's own counts, which are exact, from the end of the heap profile's text.
func (f *fetcher) numbers(ctx context.Context, m *Measurement) error {
	const page = "heap?gc=1&debug=1"
	body, err := f.get(ctx, page)
	if err != nil {
		return err
	}
	defer body.Close()
	found := map[string]int64{"HeapAlloc": -1, "TotalAlloc": -1, "NumGC": -1}
	s := bufio.NewScanner(io.LimitReader(body, profile.Limit))
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		name, value, ok := strings.Cut(strings.TrimPrefix(s.Text(), "# "), " = ")
		if _, wanted := found[name]; !ok || !wanted {
			continue
		}
		if n, err := strconv.ParseInt(value, 10, 64); err == nil {
			found[name] = n
		}
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("remote: %s: %w", f.shown(page), err)
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if found[name] < 0 {
			return fmt.Errorf("remote: %s: it has no line for %s: this is no heap profile of a Go program", f.shown(page), name)
		}
	}
	m.Live, m.Allocated, m.Collections = found["HeapAlloc"], found["TotalAlloc"], found["NumGC"]
	return nil
}

// A place is a line of code, and who called it.
type place struct {
	fn, file string
	line     int64
	caller   string
}

// A snapshot is what each line holds: bytes, or goroutines.
type snapshot map[place]int64

func (s snapshot) total() (n int64) {
	for _, v := range s {
		n += v
	}
	return n
}

// heapSites adds up what is in use by the innermost line outside the standard library.
func heapSites(p *profile.Profile) (snapshot, error) {
	space := p.Index("inuse_space")
	if space < 0 {
		return nil, errors.New("it has no inuse_space: this is no heap profile of a Go program")
	}
	out := snapshot{}
	for _, s := range p.Samples {
		if s.Values[space] != 0 {
			out[allocation(p, s.Stack)] += s.Values[space]
		}
	}
	return out, nil
}

// allocation is the line that allocates, and where it is of another module the program's own line
// that called.
func allocation(p *profile.Profile, stack []int32) place {
	at := place{fn: "the runtime"}
	for _, i := range stack {
		f := p.Frames[i]
		if standard(f.Func) {
			continue
		}
		if at.file == "" {
			at = place{fn: f.Func, file: f.File, line: f.Line}
		}
		if !foreign(f.File) {
			if f.Func != at.fn || f.Line != at.line {
				at.caller = fmt.Sprintf("%s (%s:%d)", short(f.Func), path.Base(f.File), f.Line)
			}
			break
		}
	}
	return at
}

// goroutineSites counts goroutines by the innermost line outside the standard library, and what
// they run.
func goroutineSites(p *profile.Profile) snapshot {
	out := snapshot{}
	for _, s := range p.Samples {
		at := place{fn: "the runtime"}
		if len(s.Stack) > 0 {
			f := p.Frames[s.Stack[0]]
			at = place{fn: f.Func, file: f.File, line: f.Line}
			at.caller = short(p.Frames[s.Stack[len(s.Stack)-1]].Func)
		}
		for _, i := range s.Stack {
			if f := p.Frames[i]; !standard(f.Func) {
				at.fn, at.file, at.line = f.Func, f.File, f.Line
				break
			}
		}
		out[at] += s.Values[0]
	}
	return out
}

// library are the first elements of the import paths of the standard library. A module may have a
// name without a dot, so that the dot does not tell them apart.
var library = map[string]bool{}

func init() {
	for name := range strings.FieldsSeq(`archive bufio builtin bytes cmp compress container context crypto database debug embed encoding errors
		expvar flag fmt go hash html image index internal io iter log maps math mime net os path plugin reflect regexp runtime simd slices sort strconv
		strings structs sync syscall testing text time type: unicode unique unsafe vendor weak`) {
		library[name] = true
	}
}

// standard tells functions of the standard library by their package.
func standard(function string) bool {
	first, _, inPath := strings.Cut(function, "/")
	if !inPath {
		first, _, _ = strings.Cut(function, ".")
	}
	return library[first]
}

// foreign tells files of other modules than the program's: in the module cache, vendored, or named
// so by -trimpath.
func foreign(file string) bool {
	return strings.Contains(file, "@v") || strings.Contains(file, "/vendor/")
}

// short drops the import path but for its last element.
func short(function string) string { return function[strings.LastIndexByte(function, '/')+1:] }
