//go:build !race && !leaksafe_safe

package mapper_test

import (
	"runtime"
	"testing"

	"github.com/leaksafe/leaksafe/mapper"
	"github.com/stretchr/testify/assert"
)

// allocs counts exactly what n calls of f allocate. It returns the least of several tries, because
// the runtime itself sometimes allocates.
func allocs(n int, f func()) (objects, bytes uint64) {
	objects, bytes = 1<<62, 1<<62
	f()
	for range 5 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range n {
			f()
		}
		runtime.ReadMemStats(&after)
		objects = min(objects, after.Mallocs-before.Mallocs)
		bytes = min(bytes, after.TotalAlloc-before.TotalAlloc)
	}
	return objects, bytes
}

type Cart struct {
	ID    int64
	Owner *Address
	Lines []Line
	Notes []string
}

type CartDTO struct {
	ID    int64
	Owner *AddressDTO
	Lines []LineDTO
	Notes []string
}

type Line struct {
	Name string
	N    int
}

type LineDTO struct {
	N    int32
	Name string
}

type AddressDTO struct {
	Street, City string
	Geo          *Geo
}

// byHand is what a person would write.
func byHand(c *Cart, d *CartDTO) {
	d.ID = c.ID
	d.Owner = &AddressDTO{c.Owner.Street, c.Owner.City, &Geo{c.Owner.Geo.Lat, c.Owner.Geo.Lon}}
	d.Lines = make([]LineDTO, len(c.Lines))
	for i, l := range c.Lines {
		d.Lines[i] = LineDTO{int32(l.N), l.Name}
	}
	d.Notes = make([]string, len(c.Notes))
	copy(d.Notes, c.Notes)
}

var (
	cartSink CartDTO
	userSink UserDTO
)

// TestAllocationsAreThoseByHand compares objects and bytes.
func TestAllocationsAreThoseByHand(t *testing.T) {
	cart := Cart{1, newUser().Address, make([]Line, 20), make([]string, 3)}
	carts := mapper.Must[Cart, CartDTO]()
	objects, bytes := allocs(100, func() { byHand(&cart, &cartSink) })
	gotObjects, gotBytes := allocs(100, func() { _ = carts.Into(&cartSink, &cart) })
	assert.Equal(t, objects, gotObjects, "Into: objects")
	assert.Equal(t, bytes, gotBytes, "Into: bytes")
	gotObjects, gotBytes = allocs(100, func() { cartSink, _ = carts.Map(cart) })
	assert.Equal(t, objects, gotObjects, "Map: objects")
	assert.Equal(t, bytes, gotBytes, "Map: bytes")
}

// TestNothingAllocated checks mappings for which hand-written code allocates nothing. The Mapper
// must not allocate either, and must not move the caller's values to the heap.
func TestNothingAllocated(t *testing.T) {
	users := mapper.Must[User, UserDTO](
		mapper.Set(func(d *UserDTO) *string { return &d.Name }, func(u User) string { return u.FirstName }),
		mapper.Lenient(),
	)
	points := mapper.Must[Point, Point32]()
	objects, _ := allocs(1000, func() {
		u, d := newStackUser(), UserDTO{}
		_ = users.Into(&d, &u)
		d, _ = users.Map(u)
		userSink = d
		p, _ := mapper.Map[Point32](Point{1, 2})
		p, _ = points.Map(Point{int(p.X), 2})
		_ = points.Into(&p, &Point{1, 2})
	})
	assert.Zero(t, objects)
}

func newStackUser() User { return User{ID: 1, FirstName: "Ada"} }

// TestSetWithPointerAllocates checks the allocation that the documentation states.
func TestSetWithPointerAllocates(t *testing.T) {
	users := mapper.Must[User, UserDTO](
		mapper.Set(func(d *UserDTO) *string { return &d.Name }, func(u *User) string { return u.FirstName }),
		mapper.Lenient(),
	)
	objects, _ := allocs(1000, func() {
		u, d := newStackUser(), UserDTO{}
		_ = users.Into(&d, &u)
		userSink = d
	})
	assert.Equal(t, uint64(1000), objects, "a copy of the source")
}
