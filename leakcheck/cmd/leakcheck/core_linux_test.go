//go:build linux && (amd64 || arm64)

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
)

// A core file says the same as the runtime's own dump a moment before.
func TestDumpOfACrash(t *testing.T) {
	testgate.Seconds(t)
	pattern, err := os.ReadFile("/proc/sys/kernel/core_pattern")
	require.NoError(t, err)
	if p := string(pattern); !strings.HasPrefix(p, "core") {
		t.Skip("cores of this machine go elsewhere: ", p)
	}
	exe := plain.exe(t)
	for _, k := range keepers[:2] {
		t.Run(k.service, func(t *testing.T) {
			dir := t.TempDir()
			v := plain.run(t, k.service, inShell(dir, ""))
			crashed(t, v, dir, "core*", exe, k)
		})
	}
}

// arm64 is tested where qemu runs its code.
func TestDumpOfACrashOnARM64(t *testing.T) {
	qemu, err := exec.LookPath("qemu-aarch64")
	if err != nil || !testgate.Long() {
		t.Skip("needs qemu-user and LEAKSAFE_LONG=1")
	}
	arm := build{name: "arm64", env: []string{"GOARCH=arm64"}}
	for _, k := range keepers {
		t.Run(k.service, func(t *testing.T) {
			dir := t.TempDir()
			v := arm.run(t, k.service, inShell(dir, qemu))
			crashed(t, v, dir, "qemu_*.core", arm.exe(t), k)
		})
	}
}

// inShell runs a victim in a directory of its own, with cores on, perhaps by an emulator.
func inShell(dir, emulator string) func(*exec.Cmd) {
	return func(c *exec.Cmd) {
		args := append([]string{c.Path}, c.Args[1:]...)
		if emulator != "" {
			args = append([]string{emulator}, args...)
		}
		c.Args = append([]string{"sh", "-c", `ulimit -c unlimited; exec "$@"`, "sh"}, args...)
		c.Path, c.Dir, c.Stderr = "/bin/sh", dir, nil // the crash prints all its stacks
	}
}

func crashed(t *testing.T, v *victim, dir, pattern, exe string, k keeper) {
	theirs, ours := temp(t, "theirs"), temp(t, "ours")
	require.Equal(t, "dumped", v.ask("dump "+theirs))
	_, err := v.in.Write([]byte("crash\n"))
	require.NoError(t, err)
	v.cmd.Wait()
	cores, err := filepath.Glob(filepath.Join(dir, pattern))
	require.NoError(t, err)
	if len(cores) != 1 {
		t.Skip("this system wrote no core file")
	}
	out := built(t, "dump", "-core", cores[0], "-exe", exe, "-contents", ours)
	assert.Regexp(t, `^\S+: .* objects, .*, \d+ goroutines?; file .*iB, not redacted`, out)
	sameObjects(t, read(t, theirs), read(t, ours))
	assert.Regexp(t, k.answer, built(t, "why", ours, "-exe", exe, k.question, "-n", "0"))
	assert.Equal(t, answers(t, theirs, "-exe", exe, k.question), answers(t, ours, "-exe", exe, k.question))

	b, err := os.ReadFile(cores[0])
	require.NoError(t, err)
	cut := filepath.Join(dir, "cut")
	require.NoError(t, os.WriteFile(cut, b[:len(b)/3], 0o600))
	assert.Regexp(t, `cut short|no such memory`, fails(t, "dump", "-force", "-core", cut, "-exe", exe, ours))
}

func TestDumpOfACoreByGcore(t *testing.T) {
	gcore, err := exec.LookPath("gcore")
	if err != nil || !testgate.Long() {
		t.Skip("needs gcore, of gdb, and LEAKSAFE_LONG=1")
	}
	for _, way := range []build{plain, {name: "pie-local", flags: []string{"-buildmode=pie"}}} {
		t.Run(way.name, func(t *testing.T) {
			v := way.run(t, "cache")
			theirs, ours, core := temp(t, "theirs"), temp(t, "ours"), temp(t, "core")
			require.Equal(t, "dumped", v.ask("dump "+theirs))
			out, err := exec.Command(gcore, "-o", core, v.pid).CombinedOutput()
			if err != nil {
				t.Skipf("gcore failed: %s", out)
			}
			leakcheck(t, "dump", "-core", core+"."+v.pid, ours) // it names its executable
			sameObjects(t, read(t, theirs), read(t, ours))
			v.goesOn()
		})
	}
}
