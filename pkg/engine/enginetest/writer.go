package enginetest

import (
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// writer writes numbers to a first and then to a second place, each durably, again
// and again. At each instant the first has the number of the second or the next.
type writer struct {
	count atomic.Int64
	stop  atomic.Bool
	done  chan error
}

// write starts a writer on the place "first" of one use and "second" of another,
// which may be the same.
func write(t *testing.T, first, second *used) *writer {
	t.Helper()
	first.put(t, "first", "0")
	second.put(t, "second", "0")
	w := &writer{done: make(chan error, 1)}
	go func() {
		var err error
		for n := int64(1); err == nil && !w.stop.Load(); n++ {
			if err = first.tryPut("first", strconv.FormatInt(n, 10)); err == nil {
				err = second.tryPut("second", strconv.FormatInt(n, 10))
			}
			if err == nil {
				w.count.Store(n)
			}
		}
		w.done <- err
	}()
	t.Cleanup(func() { w.stop.Store(true) })
	w.goesOn(t, "at first")
	return w
}

// end ends the writer, which must have had no error.
func (w *writer) end(t *testing.T) {
	t.Helper()
	w.stop.Store(true)
	select {
	case err := <-w.done:
		must(t, err)
	case <-time.After(2 * holdFor):
		t.Fatal("the writer hangs")
	}
}

// goesOn waits until two more rounds were written.
func (w *writer) goesOn(t *testing.T, when string) {
	t.Helper()
	begin := w.count.Load()
	for end := time.Now().Add(10 * time.Second); w.count.Load() < begin+2; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("nothing is written %s", when)
			return
		}
		select {
		case err := <-w.done:
			w.done <- err
			t.Errorf("the writer ended %s: %v", when, err)
			return
		default:
		}
	}
}

// instant checks that a copy shows the two places at one instant.
func instant(t *testing.T, first, second *used) {
	t.Helper()
	a, err := strconv.ParseInt(first.get(t, "first"), 10, 64)
	must(t, err)
	b, err := strconv.ParseInt(second.get(t, "second"), 10, 64)
	must(t, err)
	if a != b && a != b+1 {
		t.Errorf("the copy is not of one instant: %d and %d", a, b)
	}
}

// limited calls f without the capability to pass limits.
func limited(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and the thread ends with the goroutine
		done <- func() error {
			h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
			var caps [2]unix.CapUserData
			if err := unix.Capget(&h, &caps[0]); err != nil {
				return err
			}
			caps[unix.CAP_SYS_RESOURCE/32].Effective &^= 1 << (unix.CAP_SYS_RESOURCE % 32)
			if err := unix.Capset(&h, &caps[0]); err != nil {
				return err
			}
			return f()
		}()
	}()
	return <-done
}
