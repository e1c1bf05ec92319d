//go:build !race

package main

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/labstack/echo/v4"
	echomiddleware "github.com/labstack/echo/v4/middleware"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/ctxreq"
)

// recoverers make a router with the recovery middleware that its users install, and one route.
var recoverers = map[string]func(http.Handler) http.Handler{
	"gin.Default": func(h http.Handler) http.Handler {
		gin.SetMode(gin.ReleaseMode)
		gin.DefaultWriter, gin.DefaultErrorWriter = io.Discard, io.Discard
		g := gin.Default()
		g.GET("/users/:id", gin.WrapH(h))
		return g
	},
	"echo.Recover": func(h http.Handler) http.Handler {
		e := echo.New()
		e.Logger.SetOutput(io.Discard)
		e.Use(echomiddleware.Recover())
		e.GET("/users/:id", echo.WrapHandler(h))
		return e
	},
	"chi.Recoverer": func(h http.Handler) http.Handler {
		r := chi.NewRouter()
		r.Use(middleware.Recoverer)
		r.Method("GET", "/users/{id}", h)
		return r
	},
}

// TestRecoverers puts real recovery middleware inside of Middleware. It answers 500 itself. Without
// Seal the Reporter learns nothing, as the package's documentation says; with Seal next to the
// handler it learns of the panic, its line and the status.
func TestRecoverers(t *testing.T) {
	log.SetOutput(io.Discard) // chi's Recoverer prints the stack to standard error
	for name, wrap := range recoverers {
		for arrangement, handler := range map[string]func(http.Handler) http.Handler{
			"without Seal": func(h http.Handler) http.Handler { return wrap(h) },
			"with Seal":    func(h http.Handler) http.Handler { return wrap(ctxreq.Seal(h)) },
			"with Seal, and a middleware between": func(h http.Handler) http.Handler {
				return wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { ctxreq.Seal(h).ServeHTTP(w, r) }))
			},
		} {
			t.Run(name+" "+arrangement, func(t *testing.T) {
				var reports []*ctxreq.Report
				c := &ctxreq.Config{Reporter: reporter(func(r *ctxreq.Report) { reports = append(reports, r) })}
				served := c.Middleware(handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("p") })))
				answer := httptest.NewRecorder()
				served.ServeHTTP(answer, httptest.NewRequest("GET", "/users/7", nil))
				assert.Equal(t, http.StatusInternalServerError, answer.Code)
				assert.Empty(t, c.InFlight())
				if arrangement == "without Seal" {
					assert.Empty(t, reports, "the recovery hides the panic: say so no more if it does not")
					return
				}
				require.Len(t, reports, 1)
				assert.Equal(t, ctxreq.KindPanic, reports[0].Kind)
				assert.EqualError(t, reports[0].Err, "panic: p")
				assert.Equal(t, http.StatusInternalServerError, reports[0].Info.Status, "what the recovery answered")
				assert.Contains(t, reports[0].Stack, "recover_test.go", "the line that panicked")
			})
		}
	}
}

// TestAbortPassesRecoverers: http.ErrAbortHandler is no fault. gin's and chi's recovery treat it in
// their own way; none of it is reported.
func TestAbortPassesRecoverers(t *testing.T) {
	log.SetOutput(io.Discard)
	for name, wrap := range recoverers {
		t.Run(name, func(t *testing.T) {
			c := &ctxreq.Config{Reporter: reporter(func(r *ctxreq.Report) { t.Errorf("reported: %v", r.Err) })}
			func() {
				defer func() { recover() }()
				c.Middleware(wrap(ctxreq.Seal(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })))).
					ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/users/7", nil))
			}()
			assert.Empty(t, c.InFlight())
		})
	}
}
