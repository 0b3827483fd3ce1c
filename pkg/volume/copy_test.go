package volume

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// began begins a copy whose call ends at once, and which lasts until the function is called.
func began(t *testing.T, c *copies, key, from string) (end func(error)) {
	t.Helper()
	result := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := c.run(ctx, &copying{key: key, from: from, pool: "p"}, func(ctx context.Context) error {
		select {
		case err := <-result:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}, func() {})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("the call was answered: %v", err)
	}
	return func(err error) {
		result <- err
		for gone := false; !gone; time.Sleep(time.Millisecond) {
			c.mu.Lock()
			gone = c.by[key] == nil
			c.mu.Unlock()
		}
	}
}

func TestCopiesAreJoined(t *testing.T) {
	c := newCopies(time.Minute)
	busy := kind(ErrBusy, "locked")
	if err := c.join("volume a", "volume b", busy); err.Error() != busy.Error() {
		t.Errorf("nothing to join: %v", err)
	}
	end := began(t, c, "volume a", "volume b")
	if err := c.join("volume a", "volume b", busy); !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), "0 files") {
		t.Errorf("joined: %v", err)
	}
	if err := c.join("volume a", "snapshot b", busy); !errors.Is(err, ErrExists) {
		t.Errorf("another source: %v", err)
	}
	end(nil)
	if err := c.missed("volume a", "volume b"); err != nil {
		t.Errorf("missed: %v", err)
	}
}

func TestAMissedErrorIsToldOnce(t *testing.T) {
	c := newCopies(time.Minute)
	began(t, c, "volume a", "volume b")(kind(ErrExhausted, "full"))
	if err := c.missed("volume a", "volume b"); !errors.Is(err, ErrExhausted) {
		t.Errorf("%v", err)
	}
	if err := c.missed("volume a", "volume b"); err != nil {
		t.Errorf("again: %v", err)
	}
	began(t, c, "volume a", "volume b")(kind(ErrExhausted, "full"))
	if err := c.missed("volume a", "volume c"); err != nil {
		t.Errorf("of another source: %v", err)
	}
	if total := c.ended["p"]; total.Failed != 2 || total.Done != 0 {
		t.Errorf("%+v", total)
	}
}

func TestACopyIsAbandoned(t *testing.T) { synctest.Test(t, abandoned) }

func abandoned(t *testing.T) {
	c := newCopies(100 * time.Millisecond)
	began(t, c, "volume kept", "volume b")
	began(t, c, "volume lost", "volume b")
	deadline := time.Now().Add(10 * time.Second)
	for lost := false; !lost; time.Sleep(5 * time.Millisecond) {
		if err := c.join("volume kept", "volume b", nil); !errors.Is(err, ErrBusy) {
			t.Fatalf("kept: %v", err)
		}
		c.mu.Lock()
		lost = c.by["volume lost"] == nil
		c.mu.Unlock()
		if time.Now().After(deadline) {
			t.Fatal("it goes on")
		}
	}
	if err := c.missed("volume lost", "volume b"); err != nil {
		t.Errorf("missed: %v", err)
	}
	c.stop()
	if total := c.ended["p"]; total.Abandoned != 2 || len(c.by) > 0 {
		t.Errorf("%+v, left %v", total, c.by)
	}
	released := false
	err := c.run(t.Context(), &copying{key: "volume a"}, nil, func() { released = true })
	if !errors.Is(err, ErrUnavailable) || !released {
		t.Errorf("after the stop: %v, released %v", err, released)
	}
}

func TestACopyThatPanics(t *testing.T) {
	c := newCopies(time.Minute)
	released := false
	err := c.run(t.Context(), &copying{key: "volume a"}, func(context.Context) error { panic("broken") }, func() { released = true })
	if err == nil || !strings.Contains(err.Error(), "internal error") || !released || len(c.by) > 0 {
		t.Errorf("%v, released %v", err, released)
	}
}

// Removal of what there was of a copy can fail: then that is told, too.
func TestACancelledCopyTellsWhatElseFailed(t *testing.T) {
	other := errors.New("cannot remove")
	for _, c := range []struct {
		err  error
		only bool
	}{
		{context.Canceled, true},
		{errAbandoned, true},
		{fmt.Errorf("copy x: %w", context.Canceled), true},
		{errors.Join(fmt.Errorf("copy x: %w", errAbandoned), context.Canceled), true},
		{errors.Join(context.Canceled, other), false},
		{fmt.Errorf("copy x: %w", errors.Join(context.Canceled, other)), false},
		{kind(ErrExhausted, "%w", context.Canceled), false},
		{other, false},
	} {
		got := because(errAbandoned, c.err)
		if !errors.Is(got, errAbandoned) || (got.Error() == errAbandoned.Error()) != c.only || errors.Is(got, other) != errors.Is(c.err, other) {
			t.Errorf("%v: %v", c.err, got)
		}
	}
}

func TestConsistencyParameter(t *testing.T) {
	for value, ok := range map[string]bool{"atomic": true, "best-effort": true, "": false, "Atomic": false} {
		got, err := parseConsistency(map[string]string{"snapshotConsistency": value, "csi.storage.k8s.io/volumesnapshot/name": "x"})
		if ok != (err == nil) || ok && string(got) != value || !ok && !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %q %v", value, got, err)
		}
	}
	if _, err := parseConsistency(map[string]string{"pool": "a"}); !errors.Is(err, ErrInvalid) {
		t.Errorf("%v", err)
	}
}
