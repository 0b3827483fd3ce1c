package volume

import (
	"errors"
	"fmt"
	"slices"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/errno"
	"github.com/hostvol/hostvol/pkg/pool"
)

// The kinds of errors that a caller can act upon. Their messages say what to
// do; test with errors.Is.
var (
	// ErrInvalid: the request itself is wrong.
	ErrInvalid = errors.New("invalid request")
	// ErrNotFound: there is no such volume here.
	ErrNotFound = errors.New("not found")
	// ErrExists: it exists, and is something else than what was asked.
	ErrExists = errors.New("exists already")
	// ErrBusy: another operation on it is under way; try again.
	ErrBusy = errors.New("another operation is under way")
	// ErrInUse: what it is used for forbids it.
	ErrInUse = errors.New("in use")
	// ErrState: the state of something else forbids it.
	ErrState = errors.New("not possible now")
	// ErrOutOfRange: no pool can ever have the asked size; an offset lies beyond an end.
	ErrOutOfRange = errors.New("out of range")
	// ErrExhausted: it does not fit here now.
	ErrExhausted = errors.New("resources exhausted")
	// ErrUnavailable: it cannot be told while a pool is not open.
	ErrUnavailable = errors.New("unavailable")
	// ErrToken: a page cannot begin there.
	ErrToken = errors.New("invalid starting token")
)

// invalid makes an ErrInvalid.
func invalid(format string, args ...any) error { return kind(ErrInvalid, format, args...) }

// kinded is an error of one kind. What it wraps can be found with errors.Is and
// errors.As as usual, but for other kinds: the outermost counts.
type kinded struct {
	kind, err error
}

func kind(of error, format string, args ...any) error {
	return kinded{of, fmt.Errorf(format, args...)}
}

// Error implements error.
func (k kinded) Error() string { return k.kind.Error() + ": " + k.err.Error() }

// Is implements errors.Is.
func (k kinded) Is(target error) bool {
	if isKind(target) {
		return target == k.kind //nolint:errorlint // kinds are compared as they are
	}
	return errors.Is(k.err, target)
}

// As implements errors.As.
func (k kinded) As(target any) bool { return errors.As(k.err, target) }

func kinds() []error {
	return []error{ErrInvalid, ErrNotFound, ErrExists, ErrBusy, ErrInUse, ErrState, ErrOutOfRange, ErrExhausted, ErrUnavailable, ErrToken}
}

func isKind(err error) bool { return slices.Contains(kinds(), err) }

// classify adds the kind to an error that comes from a pool or from the kernel.
// An error that has one keeps it; what is not known stays as it is.
func classify(err error) error {
	for _, c := range []struct {
		is   func(error) bool
		kind error
	}{
		{is(pool.ErrExists), ErrExists},
		{is(pool.ErrNotFound), ErrNotFound},
		{is(pool.ErrBusy), ErrBusy},
		{is(pool.ErrNoSpace), ErrExhausted},
		{is(pool.ErrTooLarge), ErrOutOfRange},
		{is(pool.ErrFailed), ErrUnavailable},
		{is(pool.ErrReadOnly), ErrState},
		{is(pool.ErrQuarantine), ErrState},
		{is(pool.ErrPurging), ErrState},
		{is(engine.ErrForm), ErrInvalid},
		{is(engine.ErrTooLarge), ErrOutOfRange},
		{is(engine.ErrNotGrown), ErrOutOfRange},
		{is(engine.ErrForeign), ErrState},
		{is(engine.ErrBusy), ErrBusy},
		{is(engine.ErrLive), ErrState},
		{is(engine.ErrLater), ErrState},
		{is(engine.ErrThawed), ErrState},
		{is(engine.ErrUnusable), ErrState},
		{is(engine.ErrNotAtomic), ErrState},
		{is(engine.ErrNested), ErrState},
		{is(engine.ErrChanging), ErrBusy},
		{errno.NoSpace, ErrExhausted},
		{errno.ReadOnly, ErrState},
		{errno.Busy, ErrInUse},
	} {
		if err != nil && c.is(err) && !hasKind(err) {
			return kinded{c.kind, err}
		}
	}
	return err
}

func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

func hasKind(err error) bool {
	return slices.ContainsFunc(kinds(), func(k error) bool { return errors.Is(err, k) })
}
