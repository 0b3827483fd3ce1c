package volume

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
)

func TestLocks(t *testing.T) {
	var l locks
	unlock, err := l.try("volume a", "target /x")
	if err != nil {
		t.Fatal(err)
	}
	for _, names := range [][]string{{"volume a"}, {"target /x"}, {"volume b", "target /x"}, {"volume a", "target /y"}} {
		if _, err := l.try(names...); !errors.Is(err, ErrBusy) {
			t.Errorf("%v: %v", names, err)
		}
	}
	other, err := l.try("volume b", "target /y") // a refused call has locked nothing
	if err != nil {
		t.Fatal(err)
	}
	other()
	unlock()
	unlock, err = l.try("volume a", "target /x")
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	if len(l.held) > 0 {
		t.Errorf("held: %v", l.held)
	}
}

func TestLocksExclude(t *testing.T) {
	var l locks
	var inside, times atomic.Int64
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 1000 {
				unlock, err := l.try("a")
				if err != nil {
					continue
				}
				if inside.Add(1) > 1 {
					t.Error("two are inside")
				}
				times.Add(1)
				inside.Add(-1)
				unlock()
			}
		})
	}
	all.Wait()
	if times.Load() == 0 {
		t.Error("nobody got in")
	}
}

// What is pinned can be used, and not taken away.
func TestPins(t *testing.T) {
	var l locks
	first, err := l.pin("volume a")
	if err != nil {
		t.Fatal(err)
	}
	second, err := l.pin("volume a")
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := l.try("volume a")
	if err != nil {
		t.Fatal(err)
	}
	third, err := l.pin("volume a") // while it is changed
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	for _, unpin := range []func(){first, second, third} {
		if _, err := l.tryAway("volume b", "volume a"); !errors.Is(err, ErrBusy) {
			t.Errorf("taken away: %v", err)
		}
		unpin()
	}
	away, err := l.tryAway("volume b", "volume a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.pin("volume a"); !errors.Is(err, ErrBusy) {
		t.Errorf("pinned while it goes: %v", err)
	}
	away()
	if len(l.held)+len(l.pins) > 0 {
		t.Errorf("left: %v %v", l.held, l.pins)
	}
}
