package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/pool"
)

func TestClassify(t *testing.T) {
	path := func(err error) error { return &fs.PathError{Op: "write", Path: "/x", Err: err} }
	for _, c := range []struct{ err, want error }{
		{pool.ErrExists, ErrExists},
		{pool.ErrNotFound, ErrNotFound},
		{pool.ErrBusy, ErrBusy},
		{pool.ErrNoSpace, ErrExhausted},
		{pool.ErrTooLarge, ErrOutOfRange},
		{pool.ErrFailed, ErrUnavailable},
		{pool.ErrReadOnly, ErrState},
		{pool.ErrQuarantine, ErrState},
		{pool.ErrPurging, ErrState},
		{path(unix.ENOSPC), ErrExhausted},
		{path(unix.EDQUOT), ErrExhausted},
		{path(unix.EROFS), ErrState},
		{path(unix.EBUSY), ErrInUse},
		{kind(ErrInvalid, "x: %w", pool.ErrExists), ErrInvalid}, // one that has a kind keeps it
	} {
		got := classify(fmt.Errorf("create: %w", c.err))
		for _, k := range kinds() {
			if errors.Is(got, k) != (k == c.want) { //nolint:errorlint // kinds are compared as they are
				t.Errorf("%v: is it %q? %v", c.err, k, errors.Is(got, k))
			}
		}
		if !errors.Is(got, c.err) && c.want != ErrInvalid { //nolint:errorlint // as above
			t.Errorf("%v is lost in %v", c.err, got)
		}
	}
	other := errors.New("other")
	if got := classify(other); !errors.Is(got, other) || hasKind(got) {
		t.Errorf("%v", got)
	}
	if classify(nil) != nil {
		t.Error("nil")
	}
}

func TestTheOutermostKindCounts(t *testing.T) {
	inner := kind(ErrNotFound, "inner: %w", fs.ErrNotExist)
	outer := kind(ErrState, "outer: %w", inner)
	if !errors.Is(outer, ErrState) || errors.Is(outer, ErrNotFound) || !errors.Is(outer, fs.ErrNotExist) {
		t.Errorf("%v", outer)
	}
	var p *fs.PathError
	if !errors.As(kind(ErrState, "x: %w", &fs.PathError{Op: "o"}), &p) || p.Op != "o" {
		t.Error("the cause cannot be had")
	}
}
