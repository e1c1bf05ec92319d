package main

import "sync"

// A session is stored when a user comes, and not removed when he goes.
type session struct {
	id   int
	data []byte
}

var sessions sync.Map

func fillSessions() {
	for i := range kept {
		sessions.Store(secret("session")+string(rune('0'+i)), &session{i, make([]byte, 1024)})
	}
}
