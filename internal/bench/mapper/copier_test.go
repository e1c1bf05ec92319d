package main

import (
	"testing"

	"github.com/leaksafe/leaksafe/internal/bench/suite"
)

// TestCopiersOwnTests runs the tests of github.com/jinzhu/copier against package mapper, through a
// shim. The tests that fail must be the listed ones, which a strict mapper fails on purpose.
func TestCopiersOwnTests(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles copier's tests: run without -short")
	}
	suite.Suite{
		Module: "github.com/jinzhu/copier", As: "github.com/jinzhu/copier",
		Shim: "copiershim/shim.go", Types: "copiershim/types_test.go.txt", Differs: onPurpose,
	}.Run(t)
}

// The tests that fail, by the reason.
const (
	methods = "methods of the source and the destination are no fields for a Mapper: Set and After call them"
	nils    = methods + "; nil stays nil, and copier makes a zero value"
	hides   = methods + "; unexported fields would be lost, which is an error"
	strict  = "types that do not map are an error when the Mapper is built, and copier skips them silently"
	names   = "names are given to a Mapper where the compiler checks them, not as strings at run time"
	must    = "a Mapper requires all fields or, with Lenient, none; copier has a tag for single fields"
	hidden  = "a Mapper copies the exported fields of an unexported embedded struct, as Go promotes them"
)

var onPurpose = map[string]string{
	"TestCopyStruct": hides, "TestCopyFromStructToSlice": methods, "TestCopyFromSliceToSlice": methods,
	"TestCopyFromSliceToSlice2": nils, "TestAssignableType": methods,
	"TestCopyDifferentFieldType": strict, "TestCopyFieldsWithSameNameButDifferentTypes": strict, "TestCopyWithOption": strict,
	"TestCustomFieldName": names, "TestCopyTagMust": must,
	"TestAnonymousFields": hidden,
}
