package run

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestOutput(t *testing.T) {
	out, err := Output(t.Context(), []string{"sh", "-c", `cat; echo "$LC_ALL"`}, strings.NewReader("in "))
	if err != nil || string(out) != "in C\n" {
		t.Errorf("%q %v", out, err)
	}
	out, err = Output(t.Context(), []string{"sh", "-c", "echo half; echo 'why it failed' >&2; exit 3"}, nil)
	if err == nil || !strings.HasSuffix(err.Error(), "why it failed") || string(out) != "half\n" {
		t.Errorf("%q %v", out, err)
	}
	if _, err := Output(t.Context(), []string{"sh", "-c", "yes | head -c 100000 >&2; echo end >&2; exit 1"}, nil); err == nil || len(err.Error()) > 3000 || !strings.HasSuffix(err.Error(), "end") {
		t.Errorf("a long complaint: %v", err)
	}
	for _, argv := range [][]string{nil, {"/no/such/program"}, {"no-such-program-anywhere"}} {
		if _, err := Output(t.Context(), argv, nil); !errors.Is(err, ErrNoProgram) {
			t.Errorf("%q: %v", argv, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Output(ctx, []string{"sleep", "60"}, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a program that goes on: %v", err)
	}
}
