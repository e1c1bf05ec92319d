// Package sessions is a small store, and the leak test that belongs to it.
package sessions

import "sync"

// A Session belongs to one signed-in user.
type Session struct {
	ID   int
	User string
}

// A Store holds the open sessions.
type Store struct {
	mu   sync.Mutex
	next int
	open map[int]*Session
}

// Open starts a session. Whoever opens it must End it.
func (s *Store) Open(user string) *Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[int]*Session{}
	}
	s.next++
	x := &Session{s.next, user}
	s.open[x.ID] = x
	return x
}

// End forgets a session.
func (s *Store) End(x *Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, x.ID)
}
