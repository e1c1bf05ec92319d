package main

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestCopiersOwnTests runs the tests of github.com/jinzhu/copier against package mapper, through a
// shim. The tests that fail must be the listed ones, which a strict mapper fails on purpose.
func TestCopiersOwnTests(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles copier's tests: run without -short")
	}
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/jinzhu/copier").Output()
	require.NoError(t, err)
	dir := t.TempDir()
	tests, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "*_test.go"))
	require.NoError(t, err)
	for _, file := range append(tests, "copiershim/shim.go") {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, filepath.Base(file)), text, 0o600))
	}
	root, err := filepath.Abs("../../..")
	require.NoError(t, err)
	mod := "module github.com/jinzhu/copier\n\ngo 1.26.0\n\nrequire github.com/leaksafe/leaksafe v0.0.0\n\nreplace github.com/leaksafe/leaksafe => " + root + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte(mod), 0o600))
	binary := filepath.Join(dir, "copier.test")
	built, err := exec.Command("go", "test", "-C", dir, "-vet=off", "-c", "-o", binary, ".").CombinedOutput()
	require.NoError(t, err, "%s", built)
	names, err := exec.Command(binary, "-test.list", "^Test").Output()
	require.NoError(t, err)
	var failed []string
	passed := 0
	for _, name := range strings.Fields(string(names)) {
		// Each in a process of its own: a panic ends the process.
		if out, err := exec.Command(binary, "-test.run", "^"+name+"$").CombinedOutput(); err == nil {
			passed++
		} else {
			failed = append(failed, name)
			if onPurpose[name] == "" {
				t.Logf("%s", out)
			}
		}
	}
	t.Logf("%d of copier's tests pass, %d fail on purpose", passed, len(failed))
	require.ElementsMatch(t, slices.Collect(maps.Keys(onPurpose)), failed)
}

// The tests that fail, by the reason.
const (
	methods = "methods of the source and the destination are no fields for a Mapper: Set and After call them"
	strict  = "types that do not map are an error when the Mapper is built, and copier skips them silently"
	names   = "names and functions are given to a Mapper where the compiler checks them, not as strings and types at run time"
	shallow = "copier copies pointers one level deep and shares what is below; a Mapper copies all or, with Share, nothing"
	hidden  = "a Mapper copies the exported fields of an unexported embedded struct, as Go promotes them"
)

var onPurpose = map[string]string{
	"TestCopyStruct": methods, "TestCopyFromStructToSlice": methods, "TestCopyFromSliceToSlice": methods,
	"TestCopyFromSliceToSlice2": methods, "TestAssignableType": methods,
	"TestCopyDifferentFieldType": strict, "TestCopyFieldsWithSameNameButDifferentTypes": strict, "TestCopyWithOption": strict,
	"TestCustomFieldName": names, "TestCopyTagMust": names, "Test_Struct_With_Converter": names, "Test_Map_With_Converter": names,
	"Test_Slice_With_Converter": names, "Test_Slice_Embedded_With_Converter": names,
	"TestCopySameStructWithPointerField": shallow, "TestStructField": shallow, "TestSlice": shallow,
	"TestAnonymousFields": hidden,
}
