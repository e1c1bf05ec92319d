package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// Programs are the files of two programs: the server, linked with symbols, and leakcheck.
type programs struct {
	server, leakcheck string
	// dir is where they are if they were built for this run; the caller removes it.
	dir string
}

const leakcheckPath = "github.com/leaksafe/leaksafe/leakcheck/cmd/leakcheck"

// buildPrograms builds both from this folder, which is found by the path that this file had when
// the program was built. go run and go test link without symbols: of such a server leakcheck could
// not name the variables. Without the folder the server is this program, and leakcheck the command
// that is installed.
func buildPrograms(ctx context.Context) (p programs, err error) {
	_, file, _, _ := runtime.Caller(0)
	source := filepath.Dir(file)
	_, err = os.Stat(filepath.Join(source, "go.mod"))
	if _, noGo := exec.LookPath("go"); errors.Join(err, noGo) != nil {
		return installedPrograms()
	}
	if p.dir, err = os.MkdirTemp("", "leaksafe-authapi-bin-"); err != nil {
		return p, err
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(p.dir)
		}
	}()
	suffix := ""
	if runtime.GOOS == "windows" {
		suffix = ".exe"
	}
	p.server = filepath.Join(p.dir, "server"+suffix)
	p.leakcheck = filepath.Join(p.dir, "leakcheck"+suffix)
	return p, errors.Join(
		build(ctx, source, p.server, "."),
		build(ctx, source, p.leakcheck, leakcheckPath),
	)
}

func build(ctx context.Context, source, file, pkg string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", file, pkg)
	cmd.Dir = source
	// The folder that the go command may leave is in ours, and the compilers and linkers that it
	// starts end with it.
	cmd.Env = append(os.Environ(), "GOTMPDIR="+filepath.Dir(file))
	killWithChildren(cmd)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s in %s: %w\n%s", pkg, source, err, text)
	}
	return nil
}

func installedPrograms() (p programs, err error) {
	if p.server, err = os.Executable(); err != nil {
		return p, err
	}
	if p.leakcheck, err = exec.LookPath("leakcheck"); err != nil {
		return p, errors.New("dumps are compared by a command: go install " +
			leakcheckPath + "@latest")
	}
	return p, nil
}
