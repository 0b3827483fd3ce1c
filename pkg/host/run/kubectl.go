package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// stderrTail bytes of what a program complained of are in the error.
const stderrTail = 2000

// Output runs a program to its end and gives what it wrote to standard output. It
// dies with ctx. The error carries the end of its standard error; ErrNoProgram is one
// that is not there. Unlike with Do, both outputs may be of any length.
func Output(ctx context.Context, argv []string, stdin io.Reader) ([]byte, error) {
	if len(argv) == 0 {
		return nil, fmt.Errorf("run: %w", ErrNoProgram)
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.WaitDelay = 5 * time.Second // for what it has started and left behind with its output
	cmd.Stdin = stdin
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	switch {
	case err == nil:
		return out.Bytes(), nil
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("%s: %w", argv[0], ErrNoProgram)
	case ctx.Err() != nil:
		err = ctx.Err()
	}
	text := complaint.Bytes()
	if len(text) > stderrTail {
		text = text[len(text)-stderrTail:]
	}
	return out.Bytes(), fmt.Errorf("%s: %w: %s", filepath.Base(argv[0]), err, strings.TrimSpace(string(text)))
}
