package ctxreq_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/ctxreq"
)

// Wait returns after Grace once the scope is cancelled, whether End or a child that failed has
// cancelled it, and however long the cleanups take.
func TestWaitEndsAfterGrace(t *testing.T) {
	for name, c := range map[string]struct {
		cancel func(s *ctxreq.Scope)
		want   time.Duration
	}{
		"End, with a slow cleanup": {func(s *ctxreq.Scope) {
			s.Defer(func(context.Context) error { time.Sleep(10 * time.Second); return nil })
			s.End(nil)
		}, time.Second},
		"a child fails": {func(s *ctxreq.Scope) {
			s.Go("fails", func(context.Context) error { time.Sleep(time.Second); return errors.New("down") })
		}, 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				config := &ctxreq.Config{Reporter: discard{}, Grace: time.Second, CleanupTimeout: time.Minute}
				_, s := config.Start(t.Context(), "scope")
				release := make(chan struct{})
				s.Go("ignores it", func(context.Context) error { <-release; return nil })
				begin := time.Now()
				waited := make(chan error, 1)
				var took time.Duration
				go func() {
					err := s.Wait()
					took = time.Since(begin)
					waited <- err
				}()
				synctest.Wait()
				go c.cancel(s)
				require.ErrorContains(t, <-waited, "1 child still runs")
				require.Equal(t, c.want, took)
				close(release)
				time.Sleep(time.Minute)
				s.End(nil)
			})
		})
	}
}

// Shutdown refuses callers that wait for room at once, while a job is still running.
func TestShutdownRefusesWhoWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		jobs := &ctxreq.Jobs{Config: &ctxreq.Config{MaxChildren: 1, Reporter: discard{}}}
		release := make(chan struct{})
		require.NoError(t, jobs.Go(t.Context(), "first", func(context.Context) error { <-release; return nil }))
		refused := make(chan error, 1)
		go func() {
			refused <- jobs.Go(context.Background(), "second", func(context.Context) error { return nil })
		}()
		synctest.Wait()
		done := make(chan error, 1)
		go func() { done <- jobs.Shutdown(context.Background()) }()
		synctest.Wait()
		select {
		case err := <-refused:
			require.ErrorIs(t, err, ctxreq.ErrEnded)
		default:
			t.Error("the second Go still waits")
		}
		close(release)
		require.NoError(t, <-done)
	})
}

// InFlight lists exactly what is active, in whatever order scopes and children end.
func TestInFlightWhateverEndsFirst(t *testing.T) {
	names := func(infos []ctxreq.Info, child bool) (list []string) {
		for _, info := range infos {
			if (info.Parent != "") == child {
				list = append(list, info.Name)
			}
		}
		slices.Sort(list)
		return list
	}
	order := []int{1, 7, 8, 15, 16, 17, 9, 23, 0, 2, 22, 3, 21, 4, 20, 5, 19, 6, 18, 10, 14, 11, 13, 12}
	t.Run("scopes", func(t *testing.T) {
		c := new(ctxreq.Config)
		scopes, active := map[int]*ctxreq.Scope{}, []string{}
		for i := range order {
			name := fmt.Sprintf("%02d", i)
			_, scopes[i] = c.Start(t.Context(), name)
			active = append(active, name)
		}
		for _, i := range order {
			require.Equal(t, active, names(c.InFlight(), false))
			require.NoError(t, scopes[i].End(nil))
			active = slices.DeleteFunc(active, func(name string) bool { return name == fmt.Sprintf("%02d", i) })
		}
		require.Empty(t, c.InFlight())
	})
	t.Run("children", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := new(ctxreq.Config)
			_, s := c.Start(t.Context(), "scope")
			release, active := map[int]chan struct{}{}, []string{}
			for i := range order {
				name, ch := fmt.Sprintf("%02d", i), make(chan struct{})
				release[i] = ch
				s.Go(name, func(context.Context) error { <-ch; return nil })
				active = append(active, name)
			}
			for _, i := range order {
				require.Equal(t, active, names(c.InFlight(), true))
				close(release[i])
				synctest.Wait()
				active = slices.DeleteFunc(active, func(name string) bool { return name == fmt.Sprintf("%02d", i) })
			}
			require.Empty(t, names(c.InFlight(), true))
			require.NoError(t, s.End(nil))
		})
	})
}

// With Repanic the code outside answers, and Middleware writes nothing.
func TestRepanicLeavesTheAnswerToOthers(t *testing.T) {
	c := &ctxreq.Config{Reporter: discard{}, Repanic: true}
	h := c.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("oops") }))
	w := httptest.NewRecorder()
	func() {
		defer func() {
			require.Equal(t, "oops", recover())
			w.WriteHeader(http.StatusServiceUnavailable)
		}()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	}()
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Empty(t, w.Body.String())
}

// A child cannot write while Middleware answers 500.
func TestNobodyWritesBesideTheAnswerToAPanic(t *testing.T) {
	var inner http.ResponseWriter
	var err error
	c := &ctxreq.Config{Reporter: reporterFunc(func(r *ctxreq.Report) {
		if r.Kind == ctxreq.KindPanic { // the answer follows the report
			_, err = inner.Write([]byte("EVIL"))
		}
	})}
	w := httptest.NewRecorder()
	c.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		inner = w
		panic("oops")
	})).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	require.ErrorIs(t, err, ctxreq.ErrEnded)
	require.Equal(t, http.StatusInternalServerError, w.Code)
	require.Equal(t, "Internal Server Error\n", w.Body.String())
}

// runtime.Goexit is no panic, so Repanic does not make one of it.
func TestGoexitIsNotPanickedAgain(t *testing.T) {
	c := &ctxreq.Config{Reporter: discard{}, Repanic: true}
	exit := func(context.Context) error { runtime.Goexit(); return nil }
	for _, run := range []func(){
		func() { c.Run(context.Background(), "run", exit) },
		func() { c.RPC(context.Background(), "rpc", exit) },
		func() {
			c.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { runtime.Goexit() })).
				ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
		},
	} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			run()
		}()
		<-done
	}
	require.Empty(t, c.InFlight())
}

// What a stuck child does in the end is reported once.
func TestALatePanicIsReportedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := new(recorder)
		_, s := (&ctxreq.Config{Reporter: rec, Grace: time.Second}).Start(t.Context(), "scope")
		release := make(chan struct{})
		s.Go("panics", func(context.Context) error { <-release; panic("oops") })
		s.Go("heeds it too late", func(ctx context.Context) error { <-release; return ctx.Err() })
		require.Error(t, s.End(nil))
		close(release)
		synctest.Wait()
		require.Len(t, rec.of(ctxreq.KindStuck), 2)
		require.Len(t, rec.of(ctxreq.KindPanic), 1)
		require.Len(t, rec.all(), 3)
	})
}

// The status is the first that was written.
func TestStatusIsTheFirstOne(t *testing.T) {
	for name, c := range map[string]struct {
		write func(w http.ResponseWriter)
		want  int
	}{
		"nothing":             {func(http.ResponseWriter) {}, 0},
		"a body":              {func(w http.ResponseWriter) { w.Write([]byte("x")) }, 200},
		"a header, a body":    {func(w http.ResponseWriter) { w.WriteHeader(404); w.Write([]byte("x")) }, 404},
		"a header, a flush":   {func(w http.ResponseWriter) { w.WriteHeader(404); w.(http.Flusher).Flush() }, 404},
		"a flush":             {func(w http.ResponseWriter) { w.(http.Flusher).Flush() }, 200},
		"two headers":         {func(w http.ResponseWriter) { w.WriteHeader(404); w.WriteHeader(500) }, 404},
		"an early hint, 404":  {func(w http.ResponseWriter) { w.WriteHeader(103); w.WriteHeader(404) }, 404},
		"only a header's map": {func(w http.ResponseWriter) { w.Header().Set("X-A", "b") }, 0},
	} {
		var s *ctxreq.Scope
		new(ctxreq.Config).Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s = ctxreq.From(r.Context())
			c.write(w)
		})).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
		require.Equal(t, c.want, s.Info().Status, name)
	}
}

// Code outside finds the multipart form that the handler parsed.
func TestMultipartFormIsSeenOutside(t *testing.T) {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	require.NoError(t, form.WriteField("page", "2"))
	require.NoError(t, form.Close())
	r := httptest.NewRequest("POST", "/", &body)
	r.Header.Set("Content-Type", form.FormDataContentType())
	new(ctxreq.Config).Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		assert.NoError(t, r.ParseMultipartForm(1<<10))
	})).ServeHTTP(httptest.NewRecorder(), r)
	require.NotNil(t, r.MultipartForm)
	require.Equal(t, []string{"2"}, r.MultipartForm.Value["page"])

	plain := httptest.NewRequest("POST", "/", nil)
	plain.MultipartForm = r.MultipartForm
	new(ctxreq.Config).Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { r.MultipartForm = nil })).ServeHTTP(httptest.NewRecorder(), plain)
	require.NotNil(t, plain.MultipartForm, "what the handler did not parse stays")
}

// A body that BodyCapture shows in full is not cut.
func TestBodyIsCutOnlyIfThereIsMore(t *testing.T) {
	for text, cut := range map[string]bool{`{"page":2}`: false, `{"page":21}`: true} {
		r := httptest.NewRequest("POST", "/", strings.NewReader(text))
		r.Header.Set("Content-Type", "application/json")
		report := reported(t, &ctxreq.Config{BodyCapture: 10}, r)
		require.Equal(t, cut, report.BodyCut, text)
	}
}

// The default log line has the values of keys with Log, and says when a Reporter panics.
func TestDefaultLog(t *testing.T) {
	var log bytes.Buffer
	old := slog.Default()
	t.Cleanup(func() { slog.SetDefault(old) })
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	report := func(c *ctxreq.Config) string {
		log.Reset()
		ctx, s := c.Start(t.Context(), "scope")
		tenant.Set(ctx, "acme")
		s.Report(errors.New("it failed"))
		require.NoError(t, s.End(nil))
		return log.String()
	}
	require.Contains(t, report(new(ctxreq.Config)), "test.tenant=acme")
	line := report(&ctxreq.Config{Reporter: reporterFunc(func(*ctxreq.Report) { panic("oops") })})
	require.Contains(t, line, "ctxreq: the Reporter panicked")
	require.Contains(t, line, "it failed")
}
