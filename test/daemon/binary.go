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
	return built(ctx, "HOSTVOL_BINARY", "hostvol")
}

// FlexBinary is the same for hostvol-flex: HOSTVOL_FLEX_BINARY, or bin/hostvol-flex, built as it is delivered.
func FlexBinary(ctx context.Context) (string, error) {
	return built(ctx, "HOSTVOL_FLEX_BINARY", "hostvol-flex", "-trimpath", "-ldflags", "-s -w")
}

func built(ctx context.Context, variable, name string, flags ...string) (string, error) {
	if path := os.Getenv(variable); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("%s: %w", variable, err)
		}
		return filepath.Abs(path)
	}
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", explain(err))
	}
	root := strings.TrimSpace(string(out))
	path := filepath.Join(root, "bin", name)
	build := exec.CommandContext(ctx, "go", append(append([]string{"build", "-buildvcs=false"}, flags...), "-o", path, "./cmd/"+name)...)
	build.Dir = root
	if name == "hostvol-flex" {
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
	}
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", name, err, out)
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
