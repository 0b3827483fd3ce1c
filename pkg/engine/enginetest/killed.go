package enginetest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// killed takes from an engine what the kernel takes from a process that is killed.
func killed(t *testing.T, e engine.Engine) {
	t.Helper()
	must(t, e.Close())
}

// testKilledAttached: an engine that is opened after the first one's end finds what
// is in use, serves it and ends it.
func testKilledAttached(t *testing.T, w *world) {
	it := w.volume(t)
	e := w.open(t, holdFor)
	u := it.use(t, e, false)
	reader := it.use(t, e, true)
	writer := write(t, u, u)
	devices := it.devices(t, e)
	killed(t, e)
	next := w.open(t, holdFor)
	next.Known(it.dir, it.v)
	applies(t, next, it)
	if now := it.devices(t, next); !slices.Equal(now, devices) {
		t.Errorf("devices are %v, before the kill %v", now, devices)
	}
	ids := shows(t, next, it)
	if !slices.Contains(ids, u.id) || !slices.Contains(ids, reader.id) {
		t.Errorf("attached are %v, mounted %v and %v", ids, u.id, reader.id)
	}
	again := it.use(t, next, false)
	if again.id != u.id {
		t.Errorf("another source: %v, %v before the kill", again.id, u.id)
	}
	healthy(t, next, it)
	held, err := hold(t, next, it)
	must(t, err)
	released(t, held)
	writer.goesOn(t, "after the kill")
	it.v.Bytes = w.size(t, it.v.Bytes+16*mib)
	if err := next.Apply(t.Context(), it.dir, it.v); !errors.Is(err, engine.ErrLater) {
		must(t, err)
	}
	writer.end(t)
	again.unmount(t)
	reader.unmount(t)
	u.end(t, next)
	if d := it.left(t, next); len(d) > 0 {
		t.Errorf("attached after it was detached: %v", d)
	}
	u = it.use(t, next, false)
	if u.get(t, "first") == "" {
		t.Error("what was written is gone")
	}
	u.end(t, next)
}

// testKilledHeld: the next start lets go what was held.
func testKilledHeld(t *testing.T, w *world) {
	it := w.volume(t)
	e := w.open(t, holdFor)
	u := it.use(t, e, false)
	u.put(t, "one", "text")
	held, err := hold(t, e, it)
	must(t, err)
	killed(t, e)
	next := w.open(t, holdFor)
	next.Known(it.dir, it.v)
	begin := time.Now()
	u.put(t, "one", "more")
	if took := time.Since(begin); took > holdFor/2 {
		t.Errorf("a write took %v after the start", took)
	}
	healthy(t, next, it)
	_ = held.Release() // as good as it can
	u.put(t, "one", "last")
	again, err := hold(t, next, it)
	must(t, err)
	released(t, again)
	u.end(t, next)
	it.look(t, map[string]string{"one": "last"})
}

// testClose: what is in use stays in use.
func testClose(t *testing.T, w *world) {
	it := w.volume(t)
	w.opening.Lock()
	e := w.Open(t, holdFor)
	w.opening.Unlock()
	e.Known(it.dir, it.v)
	u := it.use(t, e, false)
	must(t, e.Close())
	u.put(t, "one", "text")
	next := w.open(t, holdFor)
	next.Known(it.dir, it.v)
	if ids := shows(t, next, it); !slices.Equal(ids, []safepath.Identity{u.id}) {
		t.Errorf("attached are %v, mounted is %v", ids, u.id)
	}
	u.put(t, "one", "more")
	u.end(t, next)
	it.look(t, map[string]string{"one": "more"})
}
