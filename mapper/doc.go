// Package mapper maps values of one type to values of another, an entity to a
// DTO and back, by a plan that is compiled once for the pair of types.
//
//	var toDTO = mapper.Must[User, UserDTO](
//		mapper.Bind(func(d *UserDTO) *string { return &d.Mail }, func(u *User) *string { return &u.Email }),
//		mapper.Set(func(d *UserDTO) *string { return &d.Name }, func(u User) string { return u.First + " " + u.Last }),
//		mapper.Ignore(func(d *UserDTO) *string { return &d.Note }),
//	)
//
//	dto, err := toDTO.Map(user)
//
// Fields find each other by name. Everything is checked when the [Mapper] is
// built: a field of the destination that nothing fills, or a pair of types that
// no rule maps, is an error then, and all such problems are listed at once. What
// depends on the value (a number that does not fit, data that is cyclic) is an
// [Error] with its path when it is met. Nothing is lost in silence.
//
// Use it where many pairs of types have mostly the same fields. For one pair,
// five lines by hand are simpler and as fast. It is not a validator, and it
// does not map structs to maps.
//
// # Leak
//
// This is how mappers leak:
//
//	func handle(w http.ResponseWriter, r *http.Request) {
//		m := modelmapper.New()
//		m.CreateTypeMap(User{}, UserDTO{}) // registers the pair, in a table that only grows
//		m.Map(user, &dto)                  // dto.Tags is user.Tags: the DTO keeps the user
//		cache.Add(user.ID, dto)
//	}
//
// A type map that is made for each request and kept in a static table took
// services down (modelmapper #375). In Go, caches keyed by type leak when types
// are made at run time, which are never freed (golang/go#28783). And a DTO that
// shares a slice with its entity keeps the entity (copier #33, #54, #77, #110).
//
// The rule: a plan is a function of two types and of options that are frozen; it
// lives in its Mapper and dies with it; what is cached for all has a bound, and
// shows it in [Stats]; and the result shares no memory with its source unless
// [Share] asks for it. Whoever builds a Mapper for each request all the same
// loses time, not memory, and finds one warning in the log that names the line.
//
// What proves it: TestMillionBuilds, TestProviderPerRequest, TestMadeTypes,
// TestTypesInInterfaces, TestNothingRetained, TestSourceChanges and
// TestDetachStrings, and their twins TestRegistryLeaks and TestShareRetains.
//
// # Rules
//
// The first rule that fits a pair of types decides:
//
//   - [Convert], if it names the pair.
//   - Interfaces: what a source holds is mapped by its type, at run time; into
//     an interface goes a deep copy. An error is not copied, since a copy is
//     another error: use Share or Convert.
//   - Pointers and sql.Null*, to each other and to plain values: absent (nil,
//     not Valid) becomes absent or, in a plain value, zero.
//   - Text: MarshalText to strings, UnmarshalText from them; []byte and strings
//     hold the same bytes. With [Options]: String methods, strconv.
//   - Numbers, to each other, if the destination holds the number exactly: no
//     overflow, no fraction or NaN in an int, no rounding.
//   - Slices and arrays, element by element; an array takes a slice of its own
//     length. Nil stays nil and empty stays empty.
//   - Maps, entry by entry; keys too, and two keys must not become one.
//   - Structs, by name: the exact name first, then one that differs in case;
//     promoted fields of embedded structs count as fields. Unexported fields are
//     mapped from a struct to the same type, if they hold no references, and by
//     Bind and Set. Locks are never copied.
//
// Strings share their bytes, as they do in assignments (Options.DetachStrings),
// and a time.Time its Location. What two paths lead to is copied twice.
//
// # Cost
//
// Time as a multiple of what the same takes by hand, and allocations. The
// fastest of 300 rounds, the collector running between them, go1.26.8, of
//
//	go run -C internal/bench ./mapper
//
//	                       flat, in place  flat, by value nested, 20 items   slice of 1000
//	by hand                      1.00 (0)        1.00 (0)        1.00 (3)        1.00 (1)
//	Mapper                       1.78 (0)        1.88 (0)        1.18 (3)        0.89 (1)
//	mapper.Map                          -        5.27 (0)               -               -
//	goverter, generated                 -        1.04 (0)        1.33 (3)        1.45 (1)
//	copier                       966 (35)               -       340 (646)    732 (65,004)
//	mapstructure              2,725 (177)               -     325 (1,551) 1,047 (177,906)
//	encoding/json                545 (10)               -         84 (59)     164 (5,043)
//
// By hand, the first column takes 5 ns: there the rest is the cost of a call.
// Field-to-field plans allocate what is allocated by hand, byte for byte
// (TestAllocationsAreThoseByHand). Set with a pointer, text, maps and interfaces
// allocate a copy of what they work on.
//
// # Unsafe
//
// Kernels write memory by offset and pointer map; package reflect does the rest.
// The build tag leaksafe_safe leaves them out: then all is done by reflection,
// as [Mapper.Patch] always is. FuzzExecutors holds the two against each
// other and against encoding/json; CI runs
// them with -race, which includes checkptr.
package mapper
