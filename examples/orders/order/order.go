// Package order holds what both services share: the types on the wire and in the database, and the
// database itself.
package order

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the database's driver, in pure Go
)

// A Request is what a client sends, and an Answer what it gets. The key is the client's own: a
// client that got no answer sends the same key again, and 409 tells that the order is stored.
type (
	Request struct {
		Key      string `json:"key"`
		Customer string `json:"customer"`
		Item     string `json:"item"`
		Count    int    `json:"count"`
		Note     string `json:"note"`
	}
	Answer struct {
		ID       int64     `json:"id"`
		Key      string    `json:"key"`
		Customer string    `json:"customer"`
		Item     string    `json:"item"`
		Count    int       `json:"count"`
		Note     string    `json:"note"`
		Created  time.Time `json:"created"`
	}
)

// An Order is a row.
type Order struct {
	ID       int64
	Key      string
	Customer string
	Item     string
	Count    int
	Note     string
	Created  time.Time
}

// Valid says whether an order may be stored.
func (r *Request) Valid() bool { return r.Key != "" && r.Item != "" && r.Count > 0 }

// MaxBody bounds the body of a request, in bytes.
const MaxBody = 64 << 10

// MaxBatch is how many orders an insert takes at most. Timeout is the deadline of one insert.
// MaxJobs is how many confirmations run at once. They are the same for both services.
const (
	MaxBatch = 100
	Timeout  = 2 * time.Second
	MaxJobs  = 64
)

// Deps are what a service is built from. The service owns the Store and closes it.
type Deps struct {
	Store *Store
	// Confirm tells the customer. It runs after the answer.
	Confirm func(context.Context, Order) error
	// Wrap, if any, wraps the innermost handler: the comparison plants its fault there.
	Wrap func(http.Handler) http.Handler
}

// ErrDuplicate says that an order with this key is stored already, and ErrNotFound that none is.
var (
	ErrDuplicate = errors.New("order: the key is taken")
	ErrNotFound  = errors.New("order: not found")
)

// A Store keeps orders in SQLite. Its methods may be called by several goroutines.
type Store struct {
	db *sql.DB

	mu   sync.Mutex
	hang time.Time // until then inserts hang
}

// A journal that is not synchronised at each commit survives the death of the process, not of the
// machine.
const (
	pragmas = "?_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=busy_timeout(10000)"
	schema  = `CREATE TABLE IF NOT EXISTS orders (
	id INTEGER PRIMARY KEY, key TEXT UNIQUE NOT NULL, customer TEXT NOT NULL, item TEXT NOT NULL,
	count INTEGER NOT NULL, note TEXT NOT NULL, created INTEGER NOT NULL)`
	insert = `INSERT INTO orders (key, customer, item, count, note, created)
	VALUES (?, ?, ?, ?, ?, ?)`
	query = `SELECT id, key, customer, item, count, note, created FROM orders WHERE id = ?`
)

// Open opens the database in dir, and creates it if there is none.
func Open(dir string) (*Store, error) {
	db, err := sql.Open("sqlite", filepath.Join(dir, "orders.db")+pragmas)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(4)
	db.SetMaxIdleConns(4)
	if _, err := db.Exec(schema); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &Store{db: db}, nil
}

// Close closes the database.
func (s *Store) Close() error { return s.db.Close() }

// Hang makes every insert that begins within d from now wait until d is over, or until its context
// ends.
func (s *Store) Hang(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hang = time.Now().Add(d)
}

func (s *Store) wait(ctx context.Context) error {
	s.mu.Lock()
	left := time.Until(s.hang)
	s.mu.Unlock()
	if left <= 0 {
		return nil
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// An Inserted is what became of one order of a batch.
type Inserted struct {
	ID  int64
	Err error // ErrDuplicate, and the order is not stored
}

// Insert stores orders in one transaction and says of each what became of it. After an error none
// is stored, unless the commit itself failed: then it is unknown.
func (s *Store) Insert(ctx context.Context, orders []Order) (_ []Inserted, err error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer tx.Rollback() // after Commit it does nothing
	row, err := tx.PrepareContext(ctx, insert)
	if err != nil {
		return nil, err
	}
	defer row.Close()
	results := make([]Inserted, len(orders))
	for i, o := range orders {
		results[i], err = insertOne(ctx, row, o)
		if err != nil {
			return nil, err
		}
	}
	return results, tx.Commit()
}

func insertOne(ctx context.Context, row *sql.Stmt, o Order) (Inserted, error) {
	result, err := row.ExecContext(ctx,
		o.Key, o.Customer, o.Item, o.Count, o.Note, o.Created.UnixMicro())
	if err != nil && strings.Contains(err.Error(), "UNIQUE") {
		return Inserted{Err: ErrDuplicate}, nil
	}
	if err != nil {
		return Inserted{}, err
	}
	id, err := result.LastInsertId()
	return Inserted{ID: id}, err
}

// Get returns the order of an id, or ErrNotFound.
func (s *Store) Get(ctx context.Context, id int64) (Order, error) {
	var o Order
	var created int64
	err := s.db.QueryRowContext(ctx, query, id).
		Scan(&o.ID, &o.Key, &o.Customer, &o.Item, &o.Count, &o.Note, &created)
	if errors.Is(err, sql.ErrNoRows) {
		return o, ErrNotFound
	}
	o.Created = time.UnixMicro(created).UTC()
	return o, err
}
