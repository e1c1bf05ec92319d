package main

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	_ "modernc.org/sqlite" // the database's driver, in pure Go

	"github.com/leaksafe/leaksafe/mapper"
)

// A user is a row of the database. An account is the part of it that clients see, without the
// password.
type (
	user struct {
		ID       int64
		Email    string
		Name     string
		Salt     []byte
		Password []byte
		Created  time.Time
	}
	account struct {
		ID      int64     `json:"id"`
		Email   string    `json:"email"`
		Name    string    `json:"name"`
		Created time.Time `json:"created"`
	}
)

// toAccount is compiled once, for the whole program.
var toAccount = mapper.Must[user, account]()

// A server signs users up, logs them in, and shows and changes their account.
type server struct {
	db     *sql.DB
	logger bool // a logger for every request, which the comparison removes
	leaky  bool // a mapper of its own for every request, in a registry
}

const schema = `
CREATE TABLE IF NOT EXISTS users (
	id INTEGER PRIMARY KEY, email TEXT UNIQUE NOT NULL, name TEXT NOT NULL,
	salt BLOB NOT NULL, password BLOB NOT NULL, created INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS sessions (
	token BLOB PRIMARY KEY, user INTEGER NOT NULL, expires INTEGER NOT NULL);`

// openServer opens the database in dir; the caller closes it.
func openServer(dir string, logger, leaky bool) (*server, error) {
	const pragmas = "_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)" +
		"&_pragma=busy_timeout(10000)"
	db, err := sql.Open("sqlite", filepath.Join(dir, "auth.db")+"?"+pragmas)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(4)
	if _, err := db.Exec(schema); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &server{db: db, logger: logger, leaky: leaky}, nil
}

func (s *server) close() error { return s.db.Close() }

func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /users", s.signUp)
	mux.HandleFunc("POST /sessions", s.logIn)
	mux.HandleFunc("GET /account", s.read)
	mux.HandleFunc("PATCH /account", s.update)
	if !s.logger {
		return mux
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The change that the comparison measures: this builds a logger, with a
		// buffer and attributes of its own, for each request.
		options := &slog.HandlerOptions{AddSource: true, Level: slog.LevelDebug}
		logger := slog.New(slog.NewJSONHandler(io.Discard, options)).
			With("method", r.Method, "path", r.URL.Path, "headers", r.Header.Clone())
		for _, step := range []string{"received", "routed", "authorised", "served"} {
			logger.Debug(step, "user-agent", r.UserAgent())
		}
		mux.ServeHTTP(w, r)
	})
}

type credentials struct {
	Email    string `json:"email"`
	Name     string `json:"name"`
	Password string `json:"password"`
}

func (s *server) signUp(w http.ResponseWriter, r *http.Request) {
	var in credentials
	if !decode(w, r, &in) {
		return
	}
	if !strings.Contains(in.Email, "@") || len(in.Password) < 8 {
		http.Error(w, "want an address and a password of at least eight characters",
			http.StatusUnprocessableEntity)
		return
	}
	u := user{Email: in.Email, Name: in.Name, Salt: make([]byte, 16), Created: time.Now()}
	rand.Read(u.Salt)
	u.Password = hash(in.Password, u.Salt)
	const insert = "INSERT INTO users (email, name, salt, password, created) VALUES (?, ?, ?, ?, ?)"
	result, err := s.db.ExecContext(r.Context(), insert,
		u.Email, u.Name, u.Salt, u.Password, u.Created.Unix())
	if err != nil {
		if strings.Contains(err.Error(), "UNIQUE") {
			http.Error(w, "this address has an account", http.StatusConflict)
			return
		}
		fail(w, err)
		return
	}
	if u.ID, err = result.LastInsertId(); err != nil {
		fail(w, err)
		return
	}
	s.show(w, http.StatusCreated, u)
}

func (s *server) logIn(w http.ResponseWriter, r *http.Request) {
	var in credentials
	if !decode(w, r, &in) {
		return
	}
	u, err := s.find(r, "email = ?", in.Email)
	if errors.Is(err, sql.ErrNoRows) || err == nil && !u.matches(in.Password) {
		http.Error(w, "no account has this address and password", http.StatusUnauthorized)
		return
	}
	if err != nil {
		fail(w, err)
		return
	}
	token := rand.Text()
	digest := sha256.Sum256([]byte(token))
	expires := time.Now().Add(time.Hour).Unix()
	const insert = "INSERT INTO sessions VALUES (?, ?, ?)"
	if _, err := s.db.ExecContext(r.Context(), insert, digest[:], u.ID, expires); err != nil {
		fail(w, err)
		return
	}
	reply(w, http.StatusCreated, map[string]string{"token": token})
}

func (s *server) read(w http.ResponseWriter, r *http.Request) {
	if u, ok := s.authorise(w, r); ok {
		s.show(w, http.StatusOK, u)
	}
}

func (s *server) update(w http.ResponseWriter, r *http.Request) {
	u, ok := s.authorise(w, r)
	if !ok {
		return
	}
	var in credentials
	if !decode(w, r, &in) {
		return
	}
	u.Name = in.Name
	const update = "UPDATE users SET name = ? WHERE id = ?"
	if _, err := s.db.ExecContext(r.Context(), update, u.Name, u.ID); err != nil {
		fail(w, err)
		return
	}
	s.show(w, http.StatusOK, u)
}

// show answers with the account of a user.
func (s *server) show(w http.ResponseWriter, code int, u user) {
	m := toAccount
	if s.leaky {
		m = registered()
	}
	a, err := m.Map(u)
	if err != nil {
		fail(w, err)
		return
	}
	reply(w, code, a)
}

// registry is the leak: every request builds a mapper of its own, and the registry retains them
// all.
var registry []*mapper.Mapper[user, account]

var registryGuard = make(chan struct{}, 1)

func registered() *mapper.Mapper[user, account] {
	m := mapper.Must[user, account]()
	registryGuard <- struct{}{}
	registry = append(registry, m)
	<-registryGuard
	return m
}

func (s *server) authorise(w http.ResponseWriter, r *http.Request) (user, bool) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	digest := sha256.Sum256([]byte(token))
	const session = "id = (SELECT user FROM sessions WHERE token = ? AND expires > unixepoch())"
	u, err := s.find(r, session, digest[:])
	if !ok || errors.Is(err, sql.ErrNoRows) {
		http.Error(w, "log in first", http.StatusUnauthorized)
		return user{}, false
	}
	if err != nil {
		fail(w, err)
		return user{}, false
	}
	return u, true
}

func (s *server) find(r *http.Request, where string, arg any) (user, error) {
	var u user
	var created int64
	const query = "SELECT id, email, name, salt, password, created FROM users WHERE "
	err := s.db.QueryRowContext(r.Context(), query+where, arg).
		Scan(&u.ID, &u.Email, &u.Name, &u.Salt, &u.Password, &created)
	u.Created = time.Unix(created, 0).UTC()
	return u, err
}

// hash is deliberately quick, because this example is about memory. A service uses 600,000
// iterations (OWASP's figure) or argon2.
func hash(password string, salt []byte) []byte {
	key, err := pbkdf2.Key(sha256.New, password, salt, 1000, 32)
	if err != nil {
		panic(err) // the parameters are constants
	}
	return key
}

// matches takes the same time for every password.
func (u user) matches(password string) bool {
	return subtle.ConstantTimeCompare(u.Password, hash(password, u.Salt)) == 1
}

func decode(w http.ResponseWriter, r *http.Request, v any) bool {
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(v); err != nil {
		http.Error(w, "the body is not JSON of the expected form", http.StatusBadRequest)
		return false
	}
	return true
}

func reply(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v)
}

func fail(w http.ResponseWriter, err error) {
	slog.Error("request failed", "error", err)
	http.Error(w, "internal error", http.StatusInternalServerError)
}

// serve runs the server as a process of its own until the parent closes its
// input. Each further line of input is the name of a file for a heap dump.
func serve(c config) error {
	if c.Dumps {
		runtime.MemProfileRate = 1 // records the site of every allocation, at the cost of speed
	}
	s, err := openServer(c.Dir, c.Logger, c.Leaky)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	httpServer := &http.Server{Handler: s.handler(), ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- httpServer.Serve(listener) }()
	fmt.Printf("http://%s\n", listener.Addr())
	for {
		var file string
		if _, err := fmt.Scanln(&file); err != nil {
			break
		}
		if err := dump(file); err != nil {
			return err
		}
		fmt.Println("dumped")
	}
	return errors.Join(httpServer.Close(), s.close())
}

// dump writes the heap after a collection. All other goroutines stop meanwhile.
func dump(file string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	runtime.GC()
	runtime.GC()
	debug.WriteHeapDump(f.Fd())
	return f.Close()
}
