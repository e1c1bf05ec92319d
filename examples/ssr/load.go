package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// limit is the memory limit of each server, as a container would have one.
const limit = 96 << 20

// A child is a server in a process of its own, under load at one page.
type child struct {
	Page    string
	base    string // URL
	client  *http.Client
	samples []sample
	Finding finding

	cmd   *exec.Cmd
	stdin io.Closer
}

// A sample is one slice of load.
type sample struct {
	Heap float64 // bytes of live heap at its end
	Rate float64 // requests per second
}

// start runs this program once more, as the server.
func start(ctx context.Context, page string) (*child, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, exe)
	cmd.Env = append(os.Environ(), envServe+"=1", fmt.Sprintf("GOMEMLIMIT=%d", limit))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &child{Page: page, cmd: cmd, stdin: stdin}
	c.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers}}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		c.stop()
		return nil, fmt.Errorf("ssr: the server of %s gave no address: %w", page, err)
	}
	c.base = strings.TrimSpace(line)
	return c, nil
}

// stop ends the server and waits for it.
func (c *child) stop() error {
	c.client.CloseIdleConnections()
	c.stdin.Close()
	return c.cmd.Wait()
}

// measure asks the server for leakcheck's verdict on its page.
func (c *child) measure() error {
	var b strings.Builder
	if err := get(c.client, c.base+"/debug/verdict?page="+url.QueryEscape(c.Page), &b); err != nil {
		return err
	}
	return json.Unmarshal([]byte(b.String()), &c.Finding)
}

// ask gets a number from the server.
func (c *child) ask(path string) (float64, error) {
	var b strings.Builder
	if err := get(c.client, c.base+path, &b); err != nil {
		return 0, err
	}
	return strconv.ParseFloat(b.String(), 64)
}

// workers is how many requests are in flight at once.
const workers = 4

// load sends requests for d, and takes a sample.
func (c *child) load(d time.Duration) error {
	var n atomic.Int64
	began := time.Now()
	var all errgroup.Group
	for range workers {
		all.Go(func() error {
			for time.Since(began) < d {
				if err := get(c.client, c.base+c.Page, io.Discard); err != nil {
					return err
				}
				n.Add(1)
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		return err
	}
	took := time.Since(began)
	bytes, err := c.ask("/debug/heap")
	if err != nil {
		return err
	}
	c.samples = append(c.samples, sample{Heap: bytes, Rate: float64(n.Load()) / took.Seconds()})
	return nil
}

// get writes the answer's body to w. Everything but 200 is an error.
func get(client *http.Client, url string, w io.Writer) error {
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
		return fmt.Errorf("ssr: GET %s: %s: %s", url, resp.Status, strings.TrimSpace(string(b)))
	}
	_, err = io.Copy(w, resp.Body)
	return err
}
