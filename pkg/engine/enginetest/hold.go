package enginetest

import (
	"errors"
	"testing"
	"time"

	"github.com/hostvol/hostvol/pkg/engine"
)

// hold holds volumes, and is released when the case ends.
func hold(t *testing.T, e engine.Engine, of ...*item) (engine.Held, error) {
	t.Helper()
	var sources []engine.Source
	for _, it := range of {
		sources = append(sources, *it.source())
	}
	held, err := e.Hold(t.Context(), sources)
	if err == nil {
		t.Cleanup(func() { _ = held.Release() })
		if !held.Until.IsZero() && (time.Until(held.Until) <= 0 || time.Until(held.Until) > holdFor) {
			t.Errorf("held until %v, now it is %v", held.Until, time.Now())
		}
	}
	return held, err
}

// released releases twice: the second is no error.
func released(t *testing.T, held engine.Held) {
	t.Helper()
	for range 2 {
		if err := held.Release(); err != nil {
			t.Errorf("release: %v", err)
		}
	}
}

// testHoldOne: what is copied of a volume in use is of one instant, and its writer
// goes on.
func testHoldOne(t *testing.T, w *world) {
	from := w.volume(t)
	at := from.use(t, w.e, false)
	writer := write(t, at, at)
	for range 2 {
		held, err := hold(t, w.e, from)
		must(t, err)
		cut := w.item(t)
		src := from.source()
		src.Live = held.Live
		src.Taken = held.Release
		cut.v = engine.Volume{Bytes: from.v.Bytes, Form: from.v.Form}
		made, err := w.e.Snapshot(t.Context(), cut.dir, *src, engine.BestEffort)
		released(t, held)
		writer.goesOn(t, "after it was held")
		if errors.Is(err, engine.ErrLive) && held.Live {
			continue // such a pool has no copy of one instant
		}
		must(t, err)
		if w.e.Atomic() && made.Consistency != engine.Atomic {
			t.Errorf("%+v", made)
		}
		if made.Consistency == engine.Atomic {
			copied := w.copyOf(t, cut, small).use(t, w.e, false)
			instant(t, copied, copied)
			copied.end(t, w.e)
		}
	}
	writer.end(t)
}

// testHoldSeveral: several have one instant, or are not held.
func testHoldSeveral(t *testing.T, w *world) {
	a, b, idle := w.volume(t), w.volume(t), w.volume(t)
	first, second := a.use(t, w.e, false), b.use(t, w.e, false)
	writer := write(t, first, second)
	all := []*item{a, b, idle}
	held, err := hold(t, w.e, all...)
	if errors.Is(err, engine.ErrNotAtomic) {
		writer.goesOn(t, "after several were not held")
		idle.use(t, w.e, false).end(t, w.e) // nor is anything left held
		writer.end(t)
		first.end(t, w.e)
		second.end(t, w.e)
		if held, err = hold(t, w.e, all...); errors.Is(err, engine.ErrNotAtomic) {
			return
		}
		must(t, err)
		released(t, held)
		return
	}
	must(t, err)
	if held.Live {
		t.Error("several are held, and written to")
	}
	var cuts []*item
	for _, it := range all {
		cut := w.item(t)
		cut.v = engine.Volume{Bytes: it.v.Bytes, Form: it.v.Form}
		src := it.source()
		made, err := w.e.Snapshot(t.Context(), cut.dir, *src, engine.Atomic)
		must(t, err)
		if made.Consistency != engine.Atomic {
			t.Errorf("%+v", made)
		}
		cuts = append(cuts, cut)
	}
	released(t, held)
	writer.goesOn(t, "after several were held")
	x, y := w.copyOf(t, cuts[0], small).use(t, w.e, false), w.copyOf(t, cuts[1], small).use(t, w.e, false)
	instant(t, x, y)
	writer.end(t)
}

// testHoldUnused: a volume that nobody uses stays so, or need not.
func testHoldUnused(t *testing.T, w *world) {
	it := w.volume(t)
	first, err := hold(t, w.e, it)
	must(t, err)
	second, err := hold(t, w.e, it)
	must(t, err)
	if first.Live || second.Live || !first.Until.IsZero() {
		t.Errorf("%+v %+v", first, second)
	}
	src, err := w.e.Attach(t.Context(), it.dir, it.v, engine.Use{})
	released(t, first)
	if err == nil { // nothing needs to be held
		must(t, src.Close())
		must(t, w.e.Detach(t.Context(), it.dir, it.v))
		released(t, second)
		return
	}
	if !errors.Is(err, engine.ErrBusy) {
		t.Errorf("attached while it is held: %v", err)
	}
	if _, err := w.e.Attach(t.Context(), it.dir, it.v, engine.Use{}); !errors.Is(err, engine.ErrBusy) {
		t.Errorf("attached while it is held by one of two: %v", err)
	}
	if d := it.left(t, w.e); len(d) > 0 {
		t.Errorf("attached: %v", d)
	}
	must(t, w.e.Detach(t.Context(), it.dir, it.v))
	released(t, second)
	it.use(t, w.e, false).put(t, "one", "text")
}

// testHoldTooLong: what ends by itself ends, and says so.
func testHoldTooLong(t *testing.T, w *world) {
	it := w.volume(t)
	u := it.use(t, w.e, false)
	u.put(t, "one", "before")
	const limit = time.Second
	short := w.open(t, limit)
	short.Known(it.dir, it.v)
	held, err := short.Hold(t.Context(), []engine.Source{*it.source()})
	if errors.Is(err, engine.ErrThawed) { // the machine is that slow
		u.put(t, "one", "after")
		return
	}
	must(t, err)
	if held.Until.IsZero() {
		u.put(t, "one", "after")
		released(t, held)
		return
	}
	begin := time.Now()
	u.put(t, "one", "after") // hangs until then
	if took := time.Since(begin); took > 10*limit {
		t.Errorf("a write took %v", took)
	}
	if err := held.Release(); !errors.Is(err, engine.ErrThawed) {
		t.Errorf("released after it had ended: %v", err)
	}
	if err := held.Release(); err != nil {
		t.Errorf("released again: %v", err)
	}
	again, err := hold(t, w.e, it)
	must(t, err)
	released(t, again)
	u.put(t, "one", "again")
}
