//go:build !race

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/leaksafe/leaksafe/ctxreq"
)

// modes are the three servers whose bytes are compared. The only allowed difference is the one in
// statedDifferences.
func modes() map[string]wrapper {
	c := &ctxreq.Config{Reporter: reporter(func(*ctxreq.Report) {})}
	return map[string]wrapper{
		"bare":            func(h http.Handler) http.Handler { return h },
		"Middleware":      c.Middleware,
		"Middleware+Seal": func(h http.Handler) http.Handler { return c.Middleware(ctxreq.Seal(h)) },
	}
}

// statedDifferences are the rows that differ, each with the text that must be removed to make them
// equal. http.MaxBytesReader tells net/http's own writer to close the connection, and no wrapper's.
var statedDifferences = map[string]string{"MaxBytesReader": "Connection: close\r\n"}

// rows are handlers by the raw requests that they get.
func rows(t *testing.T) (http.Handler, map[string]string) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file.txt")
	require.NoError(t, os.WriteFile(file, bytes.Repeat([]byte("0123456789"), 1000), 0o600))
	then := time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)
	require.NoError(t, os.Chtimes(file, then, then))
	upstream := serve(t, "HTTP/1.1", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "X-Sum")
		fmt.Fprintf(w, "upstream got %q", b)
		w.Header().Set("X-Sum", "42")
	}))
	target, err := url.Parse(upstream.URL)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ErrorLog = log.New(io.Discard, "", 0)

	mux := http.NewServeMux()
	handle := mux.HandleFunc
	mux.Handle("/file.txt", http.FileServer(http.Dir(dir)))
	mux.Handle("/proxy", proxy)
	mux.Handle("/timeout", http.TimeoutHandler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), time.Millisecond, "too slow"))
	handle("/empty", func(http.ResponseWriter, *http.Request) {})
	handle("/small", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "small") })
	handle("/large", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, strings.Repeat("large ", 2000)) })
	handle("/length", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "6")
		io.WriteString(w, "length")
	})
	handle("/cleanup", func(w http.ResponseWriter, r *http.Request) {
		ctxreq.From(r.Context()).Defer(func(context.Context) error { return nil })
		w.Header().Set("Content-Length", "6")
		io.WriteString(w, "length")
	})
	handle("/nocontent", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	handle("/twice", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(201); w.WriteHeader(202) })
	handle("/hints", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		io.WriteString(w, "hinted")
	})
	handle("/sse", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			http.NewResponseController(w).Flush()
		}
	})
	handle("/trailer", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		io.WriteString(w, "body")
		w.Header().Set("X-Sum", "42")
		w.Header().Set(http.TrailerPrefix+"X-Late", "1")
	})
	handle("/request-trailer", func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprint(w, string(b), r.Trailer)
	})
	handle("/abort", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "half")
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	handle("/hijack", func(w http.ResponseWriter, _ *http.Request) {
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err == nil {
			rw.WriteString("HTTP/1.1 299 Mine\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
			rw.Flush()
			conn.Close()
		}
	})
	handle("/echo", func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	handle("/max", func(w http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 3))
		http.Error(w, fmt.Sprint(err), http.StatusRequestEntityTooLarge)
	})
	handle("/unread", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Body == http.NoBody, r.ContentLength) })
	handle("/form", func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		r.FormValue("a")
		fmt.Fprint(w, r.Form, r.PostForm)
	})

	get := func(path string, headers ...string) string {
		return "GET " + path + " HTTP/1.1\r\nHost: h\r\n" + strings.Join(append(headers, ""), "\r\n") + "\r\n"
	}
	post := func(path, body string, headers ...string) string {
		return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n%s\r\n%s", path, len(body), strings.Join(append(headers, ""), "\r\n"), body)
	}
	return mux, map[string]string{
		"empty": get("/empty"), "small": get("/small"), "large": get("/large"), "with a length": get("/length"),
		"no content": get("/nocontent"), "WriteHeader twice": get("/twice"), "early hints": get("/hints"), "SSE": get("/sse"),
		"trailers": get("/trailer"), "abort": get("/abort"), "hijack": get("/hijack"), "TimeoutHandler": get("/timeout"),
		"a file": get("/file.txt"), "a range": get("/file.txt", "Range: bytes=5-24"), "a bad range": get("/file.txt", "Range: bytes=99999-"),
		"304":  get("/file.txt", "If-Modified-Since: "+then.Format(http.TimeFormat)),
		"HEAD": strings.Replace(get("/file.txt"), "GET", "HEAD", 1), "404": get("/none"),
		"an echo": post("/echo", "payload"), "a large echo": post("/echo", strings.Repeat("x", 1<<16)),
		"100-continue": post("/echo", "expected", "Expect: 100-continue"), "unread": post("/unread", "some body"),
		"unread and large": post("/unread", strings.Repeat("x", 1<<19)), "a proxy": post("/proxy", "payload"), "a form": post("/form?a=1", "b=2", "Content-Type: application/x-www-form-urlencoded"),
		"MaxBytesReader": post("/max", strings.Repeat("x", 1<<10)),
		"request trailers": "POST /request-trailer HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n" +
			"3\r\nabc\r\n0\r\nX-Sum: 42\r\n\r\n",
		"two on a connection": get("/small") + post("/echo", "second"),
		"HTTP/1.0":            "GET /small HTTP/1.0\r\n\r\n",
	}
}

// raw sends text and returns all bytes of the answer; a last request ends the connection.
func raw(t *testing.T, addr, text string) string {
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	if !strings.Contains(text, "HTTP/1.0") {
		text += "GET /empty HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
	}
	go io.WriteString(conn, text)
	b, err := io.ReadAll(conn)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		b = append(b, " reset"...)
	}
	return date.ReplaceAllString(string(b), "Date: D\r\n")
}

var date = regexp.MustCompile(`Date: [^\r]*\r\n`)

func TestRawBytesAreThoseOfNetHTTP(t *testing.T) {
	h, requests := rows(t)
	servers := map[string]string{}
	for mode, wrap := range modes() {
		srv := serve(t, "HTTP/1.1", wrap(h))
		srv.Config.ErrorLog = log.New(io.Discard, "", 0)
		servers[mode] = srv.Listener.Addr().String()
	}
	for name, text := range requests {
		want := raw(t, servers["bare"], text)
		require.NotEmpty(t, want)
		for mode, addr := range servers {
			t.Run(name+" "+mode, func(t *testing.T) {
				got := raw(t, addr, text)
				if gone := statedDifferences[name]; gone != "" && mode != "bare" {
					cut := func(s string) string { return strings.SplitAfter(strings.Replace(s, gone, "", 1), "large\n")[0] }
					require.NotEqual(t, want, got, "the servers no longer differ: remove this row from statedDifferences")
					require.Equal(t, cut(want), cut(got))
					return
				}
				require.Equal(t, want, got)
			})
		}
	}
	require.Contains(t, raw(t, servers["Middleware"], requests["small"]), "small")
	t.Run("a cleanup changes nothing", func(t *testing.T) {
		cleanup := strings.Replace(requests["with a length"], "/length", "/cleanup", 1)
		want := raw(t, servers["bare"], requests["with a length"])
		require.Equal(t, want, raw(t, servers["Middleware"], cleanup))
		require.Equal(t, want, raw(t, servers["Middleware+Seal"], cleanup))
	})
}

// TestHTTP2AnswersAreThoseOfNetHTTP compares what a client sees, because the bytes of frames depend
// on timing.
func TestHTTP2AnswersAreThoseOfNetHTTP(t *testing.T) {
	h, requests := rows(t)
	answers := map[string]map[string]string{}
	for mode, wrap := range modes() {
		srv := serve(t, "HTTP/2", wrap(h))
		srv.Config.ErrorLog = log.New(io.Discard, "", 0)
		answers[mode] = map[string]string{}
		for name, text := range requests {
			if name == "HTTP/1.0" || name == "hijack" || name == "two on a connection" || name == "request trailers" {
				continue
			}
			answers[mode][name] = over2(t, srv, text)
		}
	}
	for mode := range answers {
		require.Equal(t, answers["bare"], answers[mode], mode)
	}
}

func over2(t *testing.T, srv *httptest.Server, text string) string {
	head, body, _ := strings.Cut(text, "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	first := strings.Fields(lines[0])
	r, err := http.NewRequest(first[0], srv.URL+first[1], strings.NewReader(body))
	require.NoError(t, err)
	for _, line := range lines[2:] {
		if k, v, ok := strings.Cut(line, ": "); ok && k != "Content-Length" {
			r.Header.Set(k, v)
		}
	}
	resp, err := srv.Client().Do(r)
	if err != nil {
		return "an error"
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	resp.Header.Del("Date")
	return fmt.Sprintln(resp.Status, resp.Proto, resp.Header, resp.ContentLength, resp.Trailer, string(b), err != nil)
}

// TestWebSocketBytes compares the conversation of a websocket.
func TestWebSocketBytes(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		kind, message, err := conn.Read(r.Context())
		if err == nil {
			conn.Write(r.Context(), kind, message)
		}
		conn.Close(websocket.StatusNormalClosure, "bye")
	})
	text := "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" +
		"\x81\x82\x00\x00\x00\x00hi\x88\x82\x00\x00\x00\x00\x03\xe8" // "hi", and a close frame, with a mask of zeros
	got := map[string]string{}
	for mode, wrap := range modes() {
		srv := serve(t, "HTTP/1.1", wrap(h))
		got[mode] = rawFrames(t, srv.Listener.Addr().String(), text)
	}
	require.Contains(t, got["bare"], "hi")
	for mode := range got {
		require.Equal(t, got["bare"], got[mode], mode)
	}
}

func rawFrames(t *testing.T, addr, text string) string {
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	io.WriteString(conn, text)
	b, err := io.ReadAll(conn)
	require.NoError(t, err)
	return date.ReplaceAllString(string(b), "Date: D\r\n")
}

// TestConnect compares connect-go's answers, of success and of an error, in its own protocol.
func TestConnect(t *testing.T) {
	h := http.NewServeMux()
	h.Handle("/svc/Echo", connect.NewUnaryHandler("/svc/Echo", func(_ context.Context, r *connect.Request[wrapperspb.StringValue]) (*connect.Response[wrapperspb.StringValue], error) {
		if r.Msg.Value == "" {
			return nil, connect.NewError(connect.CodeNotFound, errors.New("nothing to say"))
		}
		answer := connect.NewResponse(wrapperspb.String("echo " + r.Msg.Value))
		answer.Trailer().Set("X-Sum", "42")
		return answer, nil
	}))
	h.HandleFunc("/empty", func(http.ResponseWriter, *http.Request) {})
	got := map[string]string{}
	for mode, wrap := range modes() {
		srv := serve(t, "HTTP/1.1", wrap(h))
		for _, body := range []string{`"hello"`, `""`} {
			got[mode] += raw(t, srv.Listener.Addr().String(), fmt.Sprintf("POST /svc/Echo HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
		}
	}
	require.Contains(t, got["bare"], "echo hello")
	for mode := range got {
		require.Equal(t, got["bare"], got[mode], mode)
	}
}

// TestGRPC compares a unary call, a missing service and a stream of grpc-go, served by net/http.
func TestGRPC(t *testing.T) {
	got := map[string]string{}
	for mode, wrap := range modes() {
		gs, hs := grpc.NewServer(), health.NewServer()
		grpc_health_v1.RegisterHealthServer(gs, hs)
		srv := serve(t, "HTTP/2", wrap(gs))
		cc, err := grpc.NewClient(srv.Listener.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})))
		require.NoError(t, err)
		t.Cleanup(func() { cc.Close() })
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		client := grpc_health_v1.NewHealthClient(cc)
		for _, service := range []string{"", "none"} {
			var header, trailer metadata.MD
			r, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: service}, grpc.Header(&header), grpc.Trailer(&trailer))
			delete(header, "date")
			got[mode] += fmt.Sprintln(r.GetStatus(), err, header, trailer)
		}
		ss, err := client.Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
		require.NoError(t, err)
		r, err := ss.Recv()
		got[mode] += fmt.Sprintln(r.GetStatus(), err)
		hs.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
		r, err = ss.Recv()
		got[mode] += fmt.Sprintln(r.GetStatus(), err)
		cancel()
	}
	require.Contains(t, got["bare"], "SERVING")
	for mode := range got {
		require.Equal(t, got["bare"], got[mode], mode)
	}
}
