//go:build linux

package leakcheck_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck"
)

func TestFilesIsSilent(t *testing.T) {
	t.Run("when it is closed", func(t *testing.T) {
		leakcheck.Files(t)
		f := open(t)
		t.Cleanup(func() { f.Close() })
	})
	t.Run("when it was open before", func(t *testing.T) {
		f := open(t)
		defer f.Close()
		leakcheck.Files(t)
	})
	t.Run("when one from before is renamed and deleted", func(t *testing.T) {
		f := open(t)
		defer f.Close()
		leakcheck.Files(t)
		require.NoError(t, os.Rename(f.Name(), f.Name()+".1"))
		require.NoError(t, os.Remove(f.Name()+".1"))
	})
	t.Run("in parallel", func(t *testing.T) {
		for range 4 {
			t.Run("sub", func(t *testing.T) {
				leakcheck.Check(t)
				t.Parallel()
				f := open(t)
				t.Cleanup(func() { f.Close() })
			})
		}
	})
	t.Run("when a client from before opens a connection in place of another", func(t *testing.T) {
		client, get := usedClient(t)
		get(client)
		t.Run("sub", func(t *testing.T) {
			leakcheck.Check(t, leakcheck.Grace(0))
			client.CloseIdleConnections()
			get(client)
		})
	})
	server := httptest.NewServer(nothing)
	defer server.Close() // not within the subtest: it closes the connections, too
	t.Run("for connections of the default transport", func(t *testing.T) {
		leakcheck.Files(t, patience)
		response, err := http.Get(server.URL)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
	})
}

// usedClient is a client with a transport of its own, and what uses it once.
func usedClient(t *testing.T) (*http.Client, func(*http.Client)) {
	server := httptest.NewServer(nothing)
	t.Cleanup(server.Close)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}, func(c *http.Client) {
		response, err := c.Get(server.URL)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
	}
}

func TestFilesDetects(t *testing.T) {
	t.Run("connections more than before", func(t *testing.T) {
		client, get := usedClient(t)
		get(client)
		others := []*http.Transport{{}, {}} // with one, the client could have a pool of two
		leaks, said := leakcheck.Plant(t, func(t testing.TB) {
			leakcheck.Check(t, leakcheck.Grace(0))
			client.CloseIdleConnections()
			get(client)
			for _, other := range others {
				get(&http.Client{Transport: other})
			}
		})
		for _, other := range others {
			other.CloseIdleConnections()
		}
		assert.Equal(t, 1, leaks, said)
		assert.Contains(t, said, "http.(*persistConn).readLoop")
	})
	t.Run("a file, by its name", func(t *testing.T) {
		var f *os.File
		t.Cleanup(func() { f.Close() })
		leaks, said := leakcheck.Plant(t, func(t testing.TB) {
			leakcheck.Check(t)
			f = open(t)
		})
		assert.Equal(t, 1, leaks, said)
		assert.Contains(t, said, filepath.Base(f.Name()))
		assert.Contains(t, said, "close the file")
		assert.Contains(t, said, "silence")
	})
	t.Run("a file that nobody holds, before the collections for Track close it", func(t *testing.T) {
		defer debug.SetGCPercent(debug.SetGCPercent(-1))
		leakcheck.MustDetect(t, func(t testing.TB) {
			leakcheck.Check(t)
			leakcheck.Track(t, newThing())
			open(t)
		})
	})
	t.Run("one file opened three times, once", func(t *testing.T) {
		var opened []*os.File
		t.Cleanup(func() {
			for _, f := range opened {
				f.Close()
			}
		})
		leaks, said := leakcheck.Plant(t, func(t testing.TB) {
			leakcheck.Files(t)
			first := open(t)
			opened = append(opened, first)
			for range 2 {
				f, err := os.Open(first.Name())
				require.NoError(t, err)
				opened = append(opened, f)
			}
		})
		assert.Equal(t, 1, leaks, said)
		assert.Contains(t, said, fmt.Sprintf("leakcheck: file leak: 3 descriptors (%d, %d, %d) are still open after ", opened[0].Fd(), opened[1].Fd(), opened[2].Fd()))
	})
	t.Run("sockets, by their addresses", func(t *testing.T) {
		var opened []interface{ Close() error }
		t.Cleanup(func() {
			for _, o := range opened {
				o.Close()
			}
		})
		var listener net.Listener
		var client net.Conn
		leaks, said := leakcheck.Plant(t, func(t testing.TB) {
			leakcheck.Files(t)
			var err error
			listener, err = net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			client, err = net.Dial("tcp", listener.Addr().String())
			require.NoError(t, err)
			server, err := listener.Accept()
			require.NoError(t, err)
			udp, err := net.ListenPacket("udp6", "[::1]:0")
			if err == nil { // there may be no IPv6
				opened = append(opened, udp)
			}
			opened = append(opened, listener, client, server)
		})
		assert.Equal(t, 1, leaks, said)
		assert.Contains(t, said, fmt.Sprintf("%d descriptors", len(opened)))
		assert.Contains(t, said, "tcp "+listener.Addr().String()+", listening")
		assert.Contains(t, said, "tcp "+client.LocalAddr().String()+" → "+listener.Addr().String())
		assert.Contains(t, said, "tcp "+listener.Addr().String()+" → "+client.LocalAddr().String())
		if len(opened) == 4 {
			assert.Contains(t, said, "udp6 [::1]:")
		}
	})
	t.Run("connections of a transport of one's own", func(t *testing.T) {
		server := httptest.NewServer(nothing)
		t.Cleanup(server.Close)
		transport := &http.Transport{}
		t.Cleanup(transport.CloseIdleConnections)
		leakcheck.MustDetect(t, func(t testing.TB) {
			leakcheck.Files(t)
			response, err := (&http.Client{Transport: transport}).Get(server.URL)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
		})
	})
}

func TestChildFilesAlone1(t *testing.T) { childTest(t); leakcheck.Files(t, short) }
func TestChildFilesAlone2(t *testing.T) {
	childTest(t)
	leakcheck.Files(t, short)
	held = append(held, open(t))
}
func TestChildFilesAlone3(t *testing.T) { childTest(t); leakcheck.Files(t, short) }

func filesTogether(t *testing.T, leak bool) {
	childTest(t)
	leakcheck.Files(t, short)
	t.Parallel()
	together.wait(2)
	if leak {
		held = append(held, open(t))
		started <- struct{}{}
		return
	}
	<-started
}

func TestChildFilesBeside1(t *testing.T) { filesTogether(t, false) }
func TestChildFilesBeside2(t *testing.T) { filesTogether(t, true) }

func TestChildFilesParent(t *testing.T) {
	childTest(t)
	leakcheck.Files(t, short)
	t.Run("sub", func(t *testing.T) {
		leakcheck.Files(t, short)
		held = append(held, open(t))
	})
}

func TestFilesOfSeveralTests(t *testing.T) {
	testgate.Seconds(t)
	t.Run("one after the other: each is judged alone", func(t *testing.T) {
		o := child(t, "bare", "TestChildFilesAlone.")
		assert.Equal(t, []string{"TestChildFilesAlone2"}, o.failed)
		assert.Contains(t, o.text, "is still open after TestChildFilesAlone2\n")
	})
	t.Run("running at the same time: no test fails, and a text names both", func(t *testing.T) {
		o := child(t, "bare", "TestChildFilesBeside.")
		assert.Empty(t, o.failed)
		assert.Equal(t, 2, strings.Count(o.text, "is still open after all tests; opened by one of TestChildFilesBeside1, TestChildFilesBeside2\n"),
			"once in the log, once on standard error")
		assert.Contains(t, o.text, "go test -run '^TestChildFilesBeside1$' github.com/leaksafe/leaksafe/leakcheck && go test -run")
	})
	t.Run("running at the same time: Main fails", func(t *testing.T) {
		o := child(t, "main", "TestChildFilesBeside.")
		assert.Empty(t, o.failed)
		assert.Equal(t, 1, o.code)
		assert.Equal(t, 1, strings.Count(o.text, "is still open after all tests; opened by one of TestChildFilesBeside1, TestChildFilesBeside2\n"))
	})
	t.Run("one waits in t.Parallel", func(t *testing.T) {
		o := child(t, "bare", "TestChildFilesPaused.")
		assert.Equal(t, []string{"TestChildFilesPaused2"}, o.failed)
		assert.Contains(t, o.text, "is still open after TestChildFilesPaused2\n")
	})
	t.Run("beside a test without a check", func(t *testing.T) {
		o := child(t, "main", "TestChildFilesUnchecked.")
		assertOnlyTheRunFails(t, o, "opened by one of TestChildFilesUnchecked1, TestChildFilesUnchecked2\n")
	})
	t.Run("a test and its subtest", func(t *testing.T) {
		o := child(t, "bare", "TestChildFilesParent")
		assert.Equal(t, []string{"TestChildFilesParent"}, o.failed)
		assert.Contains(t, o.text, "is still open after TestChildFilesParent\n")
		assert.Contains(t, o.text, "the test or one of its subtests opened it")
	})
}

// The first waits until all others have ended, and opens nothing.
func TestChildFilesPaused1(t *testing.T) {
	childTest(t)
	leakcheck.Files(t, short)
	t.Parallel()
}

func TestChildFilesPaused2(t *testing.T) {
	childTest(t)
	leakcheck.Files(t, short)
	held = append(held, open(t))
}

// The second is guilty, has no check and still runs when the first ends.
func TestChildFilesUnchecked1(t *testing.T) {
	childTest(t)
	leakcheck.Files(t, short)
	t.Parallel()
	together.wait(2)
	<-started
	t.Cleanup(func() { close(forever) })
}

func TestChildFilesUnchecked2(t *testing.T) {
	childTest(t)
	t.Parallel()
	together.wait(2)
	held = append(held, open(t))
	started <- struct{}{}
	<-forever
}

// io.Copy between two connections moves the bytes through a pipe that package internal/poll holds
// in a sync.Pool: nobody can close it.
func TestPipesOfThePoolAreNoLeak(t *testing.T) {
	leakcheck.Files(t)
	proxy(t)
}

// What is like them, and is nobody's pool, is a leak.
func TestPipesAreLeaks(t *testing.T) {
	var r, w *os.File
	t.Cleanup(func() { r.Close(); w.Close() })
	leakcheck.MustDetect(t, func(t testing.TB) {
		leakcheck.Files(t, short)
		proxy(t)
		var err error
		r, w, err = os.Pipe()
		require.NoError(t, err)
	})
	if !testgate.CI() {
		return
	}
	var raw [2]int
	t.Cleanup(func() { syscall.Close(raw[0]); syscall.Close(raw[1]) })
	leakcheck.MustDetect(t, func(t testing.TB) {
		leakcheck.Files(t, short)
		require.NoError(t, syscall.Pipe(raw[:]))
	})
}

// proxy copies from one TCP connection to another, and closes everything.
func proxy(t testing.TB) {
	a, in := connection(t)
	out, b := connection(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(out, in)
		out.Close()
		in.Close()
	}()
	_, err := a.Write([]byte("hello"))
	require.NoError(t, err)
	_, err = io.ReadFull(b, make([]byte, 5))
	require.NoError(t, err)
	a.Close()
	<-done
	b.Close()
}

func connection(t testing.TB) (client, server net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	client, err = net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	server, err = l.Accept()
	require.NoError(t, err)
	return client, server
}

func TestIgnoreFile(t *testing.T) {
	f := open(t)
	t.Cleanup(func() { f.Close() })
	leaky := func(t testing.TB, opts ...leakcheck.Option) {
		leakcheck.Files(t, opts...)
		again, err := os.Open(f.Name())
		require.NoError(t, err)
		held = append(held, again)
	}
	leaky(t, leakcheck.IgnoreFile(f.Name()))
	leakcheck.MustDetect(t, func(t testing.TB) { leaky(t, leakcheck.IgnoreFile("/nowhere")) })
	t.Cleanup(func() {
		for _, f := range held {
			f.Close()
		}
	})
}
