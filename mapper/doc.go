// Package mapper maps values of one type to values of another, such as an entity to a DTO and back.
// It compiles a plan once for each pair of types.
//
//	var toDTO = mapper.Must[User, UserDTO](
//		mapper.Bind(func(d *UserDTO) *string { return &d.Mail }, func(u *User) *string { return &u.Email }),
//		mapper.Set(func(d *UserDTO) *string { return &d.Name }, func(u User) string { return u.First + " " + u.Last }),
//		mapper.Ignore(func(d *UserDTO) *string { return &d.Note }),
//	)
//
//	dto, err := toDTO.Map(user)
//
// Fields match by name. The types are checked when the [Mapper] is built: a field of the
// destination that nothing fills, or a pair of types that no rule maps, is an error. It lists all
// such problems at once, each with lines of code that solve it. Problems that depend on the value,
// such as a number that does not fit or cyclic data, are an [Error] with its path when the value is
// mapped. Nothing is lost silently.
//
// Use it where many pairs of types have mostly the same fields. For one pair, five lines by hand
// are simpler and as fast. It is not a validator, and it does not map structs to maps.
//
// # What to read first
//
//   - [New], [Must] and the methods Map, Into and Slice of [Mapper].
//   - [Bind], [Set], [SetErr], [Ignore] and [After] choose fields. Their type parameters name the
//     pair that they are for: a rename inside a list is a Bind with the element's types.
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
// A type map that was made for each request and retained by a static table took services down
// (modelmapper #375). In Go, caches keyed by type leak if types are made at run time, because such
// types are never freed (golang/go#28783). And a DTO that shares a slice with its entity retains
// the entity (copier #33, #54, #77, #110).
//
// The rule has three parts. A plan depends only on two types and on options that never change; its
// Mapper owns it, and both are collected together. The shared cache is bounded, and [Stats] shows
// its size. The result shares no memory with its source unless [Share] or Options.Assign ask for
// it. Building a Mapper for each request costs time but no memory, and logs one warning with the
// line.
//
// These tests prove it: TestMillionBuilds, TestProviderPerRequest, TestMadeTypes,
// TestTypesInInterfaces, TestNothingRetained, TestSourceChanges and TestDetachStrings, and their
// leaky counterparts TestRegistryLeaks and TestShareRetains.
//
// # Rules
//
// The first rule that fits a pair of types decides:
//
//   - [Convert], if it names the pair; Options.Assign, if it names the type.
//   - Interfaces: the value in a source interface is mapped by its type, at run time. An interface
//     in the destination gets a deep copy. An error is not copied, because a copy is a different
//     error: use Share or Convert.
//   - Pointers and nulls, to each other and to plain values: absent (nil, not Valid) becomes absent
//     or, in a plain value, zero. A null is recognised by its shape, in any package: a struct of a
//     value and Valid bool, such as sql.NullString, uuid.NullUUID, pgtype.Text and gorm.DeletedAt,
//     or a struct that embeds just one, such as null.String. The text form of an absent value is
//     never used.
//   - Text: MarshalText to strings, UnmarshalText from them; []byte and strings hold the same
//     bytes, unless the type of the bytes has a String method, as net.HardwareAddr has. With
//     [Options]: String methods, strconv. A struct such as {time.Time; Name string} has these
//     methods only because it embeds a time. Its text would lose the name, so it maps neither to a
//     string nor from one, unless it declares the method itself or a [Convert] says how.
//   - Numbers, to each other, if the destination holds the number exactly: no overflow, no fraction
//     or NaN in an int, no rounding.
//   - Slices and arrays, element by element; an array takes a slice of its own length. Nil stays
//     nil and empty stays empty.
//   - Maps, entry by entry; keys too, and two keys must not become one.
//   - Structs, by name: the exact name first, then one that differs in case. Promoted fields of
//     embedded structs count as fields by Go's rules, on both sides: an outer field hides an inner
//     one of its name, and two at the same depth are an error. Unexported fields are mapped from a
//     struct to the same type, if they hold no references, and by Bind and Set. Locks are never
//     copied.
//
// Strings share their bytes, as they do in assignments (see Options.DetachStrings), and a time.Time
// its Location.
//
// An object that several paths of the source lead to, by pointers, maps, interfaces or whole
// slices, is copied once in a call, and the result shares it as the source does. So a result is as
// large as its source, even if 2^60 paths lead through 60 objects. Cyclic data is an Error. Two
// things are made again for each path: results of a Convert function or a text method, and a []byte
// made from a string. An object that is mapped to two types is copied once for each. Slices that
// overlap, but do not have the same start and length, are copied apart, and so are pointers into
// one object. If a call copies more than 1 MiB, and more than four times the bytes of its source
// because parts overlap, it is an Error. JSON, gob and other decoders never make such parts.
//
// # Types of other packages
//
// A struct with unexported fields that hold references can be copied only by its own package. If
// its values are immutable, like decimals, assign them:
//
//	mapper.Options{Assign: []any{decimal.Decimal{}, (*timestamppb.Timestamp)(nil)}}
//
// A protobuf timestamp needs a Convert for each pair of types. The Convert must use pointers,
// because messages must not be copied. A oneof is a field whose type has no exported name: Ignore
// takes its address as an any, and After sets it. The folder examples/mapper/recipes has tested
// Mappers for protobuf, pgx, gorm, guregu/null, google/uuid and shopspring/decimal, to copy.
//
// # Cost
//
// Time relative to hand-written code, and allocations. The fastest of 300 rounds, with the
// collector running between rounds, on a busy machine, go1.26.8 (go run -C internal/bench ./mapper;
// all tables in docs/benchmarks.md):
//
//	                     flat, in place  flat, by value  nested, 20 items  slice of 1000
//	by hand                    1.00 (0)        1.00 (0)          1.00 (3)       1.00 (1)
//	Mapper                     1.73 (0)        1.10 (0)          1.62 (3)       1.01 (1)
//	mapper.Map                        -        1.94 (0)                 -              -
//	goverter, generated               -        0.77 (0)          1.65 (3)       1.23 (1)
//	copier                   1,362 (35)               -         431 (646)   739 (65,004)
//
// In the first column the hand-written code takes 3.5 ns; the difference, 2.5 ns, is the cost of a
// call and of reading offsets. On a processor where it takes 5 ns, the ratio was 1.28.
// Field-to-field plans allocate exactly as many bytes as hand-written code
// (TestAllocationsAreThoseByHand). Set with a pointer, After, text, maps and interfaces allocate a
// copy of the value that they work on. A pointer, map or slice that several paths may lead to, such
// as one in an element of a list, is looked up in a table. The look-up takes a tenth of the time of
// the copy.
//
// # Unsafe
//
// The kernels, which do most of the mapping, use package unsafe: they write memory by offset, and
// keep pointers visible to the collector. Package reflect does the rest. With the build tag
// leaksafe_safe the kernels are not used, and reflection does everything, as it always does in
// [Mapper.Patch]. FuzzExecutors compares the two with each other and with encoding/json; CI runs it
// with -race, which includes checkptr.
//
// The command leakvet (leakcheck/cmd/leakvet) finds, before a program runs, a Mapper that is built
// on every call.
package mapper
