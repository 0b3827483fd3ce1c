package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Binary is the hostvol executable to test: HOSTVOL_BINARY if that is set, as make does, else bin/hostvol of
// this module, which is built anew so that a bare `go test` never runs an old one.
func Binary(ctx context.Context) (string, error) {
	if path := os.Getenv("HOSTVOL_BINARY"); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("HOSTVOL_BINARY: %w", err)
		}
		return filepath.Abs(path)
	}
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", explain(err))
	}
	root := strings.TrimSpace(string(out))
	path := filepath.Join(root, "bin", "hostvol")
	build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", path, "./cmd/hostvol")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build hostvol: %w\n%s", err, out)
	}
	return path, nil
}

// explain adds what the command printed to the error of a failed command.
func explain(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	return err
}

// FindBinary is the given executable, by its absolute path, or else Binary.
func FindBinary(ctx context.Context, given string) (string, error) {
	if given == "" {
		return Binary(ctx)
	}
	return filepath.Abs(given)
}
