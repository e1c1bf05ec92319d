// Package mapper maps values of one type to values of another, an entity to a DTO and back, by a plan
// that is compiled once for the pair of types.
//
//	var toDTO = mapper.Must[User, UserDTO](
//		mapper.Bind(func(d *UserDTO) *string { return &d.Mail }, func(u *User) *string { return &u.Email }),
//		mapper.Set(func(d *UserDTO) *string { return &d.Name }, func(u User) string { return u.First + " " + u.Last }),
//		mapper.Ignore(func(d *UserDTO) *string { return &d.Note }),
//	)
//
//	dto, err := toDTO.Map(user)
//
// Fields find each other by name. Everything is checked when the [Mapper] is built: a field of the
// destination that nothing fills, or a pair of types that no rule maps, is an error then. The error
// lists all such problems at once, each with lines of code that solve it. What depends on the value,
// such as a number that does not fit or data that is cyclic, is an [Error] with its path when it is
// met. Nothing is lost silently.
//
// Use it where many pairs of types have mostly the same fields. For one pair, five lines by hand are
// simpler and as fast. It is not a validator, and it does not map structs to maps.
//
// # What to read first
//
//   - [New], [Must] and the methods Map, Into and Slice of [Mapper].
//   - [Bind], [Set], [SetErr], [Ignore] and [After] choose fields. They say by their types which pair
//     they are for: a rename inside a list is a Bind of the element's types.
//   - [Convert] and [ConvertContext] map a pair of types by a function, wherever it is met.
//   - [Lenient], [Tag], [Flatten], [Share], [Options] and [For] change the rules.
//   - [Map], [MapSlice] and [MapAny] need no Mapper; [Stats] shows their cache.
//
// # Leak
//
// This is how mappers leak:
//
//	func handle(w http.ResponseWriter, r *http.Request) {
//		m := modelmapper.New()
//		m.CreateTypeMap(User{}, UserDTO{}) // registers the pair, in a table that only grows
//		m.Map(user, &dto)                  // dto.Tags is user.Tags: the DTO retains the user
//		cache.Add(user.ID, dto)
//	}
//
// A type map that is made for each request and kept in a static table took services down (modelmapper
// #375). In Go, caches keyed by type leak when types are made at run time, which are never freed
// (golang/go#28783). And a DTO that shares a slice with its entity retains the entity (copier #33,
// #54, #77, #110).
//
// The rule: a plan is a function of two types and of options that never change; its Mapper owns it,
// and both are collected together; what is cached for all is bounded, and [Stats] shows it; and the
// result shares no memory with its source unless [Share] or Options.Assign ask for it. To build a
// Mapper for each request all the same costs time, not memory, and logs one warning with the line.
//
// What proves it: TestMillionBuilds, TestProviderPerRequest, TestMadeTypes, TestTypesInInterfaces,
// TestNothingRetained, TestSourceChanges and TestDetachStrings, and their leaky counterparts
// TestRegistryLeaks and TestShareRetains.
//
// # Rules
//
// The first rule that fits a pair of types decides:
//
//   - [Convert], if it names the pair; Options.Assign, if it names the type.
//   - Interfaces: what a source holds is mapped by its type, at run time; into an interface goes a
//     deep copy. An error is not copied, since a copy is another error: use Share or Convert.
//   - Pointers and nulls, to each other and to plain values: absent (nil, not Valid) becomes absent
//     or, in a plain value, zero. A null is known by its shape, in whatever package: a struct of a
//     value and Valid bool, such as sql.NullString, uuid.NullUUID, pgtype.Text and gorm.DeletedAt, or
//     a struct that embeds just one, such as null.String. The text of what is absent is never data.
//   - Text: MarshalText to strings, UnmarshalText from them; []byte and strings hold the same bytes.
//     With [Options]: String methods, strconv.
//   - Numbers, to each other, if the destination holds the number exactly: no overflow, no fraction
//     or NaN in an int, no rounding.
//   - Slices and arrays, element by element; an array takes a slice of its own length. Nil stays nil
//     and empty stays empty.
//   - Maps, entry by entry; keys too, and two keys must not become one.
//   - Structs, by name: the exact name first, then one that differs in case. Promoted fields of
//     embedded structs count as fields by Go's rules, on both sides: an outer field hides an inner one
//     of its name, and two at the same depth are an error. Unexported fields are mapped from a struct
//     to the same type, if they hold no references, and by Bind and Set. Locks are never copied.
//
// Strings share their bytes, as they do in assignments (see Options.DetachStrings), and a time.Time
// its Location.
//
// What two paths of the source lead to, by pointers, maps, interfaces or whole slices, is copied once
// in a call, and the result shares it as the source does. So a result is as large as its source, even
// if 2^60 paths lead through 60 objects. Cyclic data is an Error. Two things are still made for each
// path: what a function of Convert or a text method returns, and a []byte made of a string.
//
// # Types of other packages
//
// A struct with unexported fields that hold references only its own package can copy. If its values
// never change, as a decimal's, assign them:
//
//	mapper.Options{Assign: []any{decimal.Decimal{}, (*timestamppb.Timestamp)(nil)}}
//
// A protobuf timestamp needs a Convert for each pair that has one, of the pointers, since messages
// must not be copied. A oneof is a field whose type has no exported name: Ignore takes its address as
// an any, and After sets it. The folder examples/mapper/recipes has tested Mappers for protobuf, pgx,
// gorm, guregu/null, google/uuid and shopspring/decimal, to copy.
//
// # Cost
//
// Time as a multiple of what the same takes by hand, and allocations. The fastest of 300 rounds, the
// collector running between them, go1.26.8, of
//
//	go run -C internal/bench ./mapper
//
// # TABLE
//
// By hand, the first column takes 5 ns: there the rest is the cost of a call and of reading offsets.
// Field-to-field plans allocate what is allocated by hand, byte for byte
// (TestAllocationsAreThoseByHand). Set with a pointer, After, text, maps and interfaces allocate a
// copy of what they work on. A pointer, map or slice that several paths may lead to, such as one in
// an element of a list, is looked up in a table, which is a tenth of what copying it takes.
//
// # Unsafe
//
// Kernels write memory by offset and pointer map; package reflect does the rest. The build tag
// leaksafe_safe leaves them out: then reflection does everything, as it always does in
// [Mapper.Patch]. FuzzExecutors compares the two with each other and with encoding/json; CI runs it
// with -race, which includes checkptr.
package mapper
