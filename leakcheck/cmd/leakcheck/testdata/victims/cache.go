package main

import "strconv"

// An account is what a user of the service has.
type account struct {
	owner *string
	token string
	pin   uint64
	pages []byte
}

// users is never emptied.
var users = struct{ byName map[string]*account }{map[string]*account{}}

// last is a package variable with a secret in a string and in bytes.
var last struct {
	token string
	bytes [64]byte
}

const pin = 0x5ec2e7_0123456789 // a number that must not be in a redacted dump either

func cache() {
	for i := range kept {
		name := secret("key") + strconv.Itoa(i)
		users.byName[name] = &account{owner: &name, token: secret("token"), pin: pin, pages: make([]byte, 2048)}
	}
	last.token = secret("global")
	copy(last.bytes[:], secret("array"))
}
