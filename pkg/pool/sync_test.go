package pool

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// Who calls gets a sync that began after the call: whatever was done before is durable.
func TestGroupSyncCoversWhatCameBefore(t *testing.T) {
	var written, durable atomic.Int64
	g := &groupSync{do: func() error {
		durable.Store(written.Load())
		return nil
	}}
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 500 {
				mine := written.Add(1)
				if err := g.wait(); err != nil {
					t.Error(err)
				}
				if durable.Load() < mine {
					t.Errorf("%d is not durable, only %d", mine, durable.Load())
				}
			}
		})
	}
	all.Wait()
}

// Callers that come while one sync runs share the next one.
func TestGroupSyncIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const callers = 16
		release := make(chan struct{})
		var syncs atomic.Int64
		g := &groupSync{do: func() error {
			if syncs.Add(1) == 1 {
				<-release
			}
			return nil
		}}
		var all sync.WaitGroup
		all.Go(func() { _ = g.wait() })
		synctest.Wait() // the first one runs
		for range callers {
			all.Go(func() { _ = g.wait() })
		}
		synctest.Wait() // all others wait
		close(release)
		all.Wait()
		if n := syncs.Load(); n != 2 {
			t.Errorf("%d syncs for %d callers", n, callers+1)
		}
	})
}

// An error reaches all whose work it may have lost, and all who come later: a
// sync after a failed one would succeed without the data.
func TestGroupSyncErrors(t *testing.T) {
	broken := errors.New("broken")
	var fail atomic.Bool
	g := &groupSync{do: func() error {
		if fail.Load() {
			return broken
		}
		return nil
	}}
	if err := g.wait(); err != nil {
		t.Fatal(err)
	}
	fail.Store(true)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 100 {
				if err := g.wait(); !errors.Is(err, broken) {
					t.Errorf("a lost sync was told as %v", err)
				}
			}
		})
	}
	all.Wait()
	fail.Store(false)
	if err := g.wait(); !errors.Is(err, broken) {
		t.Errorf("afterwards: %v", err)
	}
}
