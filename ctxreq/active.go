package ctxreq

import (
	"slices"
	"sync"
	"time"
)

// A shard is a part of the set of active scopes: a doubly linked list.
type shard struct {
	mu    sync.Mutex
	first *state
	_     [48]byte // a cache line each
}

// register makes InFlight list the scope; st.mu is held.
func (s *Scope) register(st *state) {
	st.listed = true
	sh := &st.cfg.active[s.seq%8]
	sh.mu.Lock()
	st.member, st.prev, st.next = s, nil, sh.first
	if sh.first != nil {
		sh.first.prev = st
	}
	sh.first = st
	sh.mu.Unlock()
}

func (c *Config) leave(s *Scope, st *state) {
	sh := &c.active[s.seq%8]
	sh.mu.Lock()
	if st.prev != nil {
		st.prev.next = st.next
	} else {
		sh.first = st.next
	}
	if st.next != nil {
		st.next.prev = st.prev
	}
	st.member, st.prev, st.next = nil, nil, nil
	sh.mu.Unlock()
}

// InFlight describes the scopes and children that are active now: what the service is doing, and
// since when. A child follows its scope, and its Parent is the name of the scope. If InFlight is
// not empty while the service is idle, a scope was never ended.
func (c *Config) InFlight() []Info {
	c.probe.check(c)
	var scopes []*Scope
	for i := range c.active {
		sh := &c.active[i]
		sh.mu.Lock()
		for st := sh.first; st != nil; st = st.next {
			scopes = append(scopes, st.member)
		}
		sh.mu.Unlock()
	}
	slices.Reverse(scopes) // the newest is the first in a list, and Seal's scope is newer than its request's
	var infos []Info
	for _, s := range scopes {
		infos = s.inFlight(infos)
	}
	return infos
}

// inFlight appends the scope and its children, unless it has ended meanwhile.
func (s *Scope) inFlight(infos []Info) []Info {
	info := s.Info()
	st := s.lock()
	if st == nil {
		return infos
	}
	defer st.mu.Unlock()
	if !st.sealed {
		infos = append(infos, info)
	}
	for t := st.children; t != nil; t = t.next {
		infos = append(infos, Info{
			ID: info.ID, Name: t.name, Parent: info.Name, Path: info.Path,
			Start: epoch.Add(t.started), Duration: time.Since(epoch) - t.started,
		})
	}
	return infos
}
