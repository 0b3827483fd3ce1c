package enginetest

import (
	"errors"
	"slices"
	"testing"

	"github.com/hostvol/hostvol/pkg/engine"
)

// snapshot makes one of a volume that is held as it has to be.
func (w *world) snapshot(t *testing.T, from *item, want engine.Consistency) (*item, engine.Cut, error) {
	t.Helper()
	held, err := hold(t, w.e, from)
	must(t, err)
	defer released(t, held)
	it := w.item(t)
	it.v = engine.Volume{Bytes: from.v.Bytes, Form: from.v.Form}
	src := from.source()
	src.Live = held.Live
	cut, err := w.e.Snapshot(t.Context(), it.dir, *src, want)
	return it, cut, err
}

func testSnapshot(t *testing.T, w *world) {
	from := w.volume(t)
	u := from.use(t, w.e, false)
	u.put(t, "one", "source")
	u.end(t, w.e)
	for _, want := range engine.Consistencies() {
		it, cut, err := w.snapshot(t, from, want)
		if want == engine.Atomic && errors.Is(err, engine.ErrNotAtomic) {
			if w.e.Atomic() {
				t.Errorf("the engine is atomic, and says %v", err)
			}
			destroyed(t, w, it)
			continue
		}
		must(t, err)
		if cut.Method == "" || cut.Held < -1 || !slices.Contains(engine.Consistencies(), cut.Consistency) ||
			(want == engine.Atomic || w.e.Atomic()) && cut.Consistency != engine.Atomic {
			t.Errorf("%s: %+v", want, cut)
		}
		if d := it.left(t, w.e); len(d) > 0 {
			t.Errorf("a snapshot is attached: %v", d)
		}
		// The source goes on, and nothing of that is in the snapshot; nor is what is
		// written to a volume of it.
		u := from.use(t, w.e, false)
		u.put(t, "one", string(want))
		u.end(t, w.e)
		made := w.copyOf(t, it, small)
		if made.v.Enforced != from.v.Enforced {
			t.Errorf("%+v of %+v", made.v, from.v)
		}
		u = made.use(t, w.e, false)
		rootIs(t, u, mode, uid, gid)
		u.holds(t, map[string]string{"one": "source"})
		u.put(t, "one", "copy")
		u.end(t, w.e)
		w.copyOf(t, it, small).look(t, map[string]string{"one": "source"})
		from.look(t, map[string]string{"one": string(want)})
		u = from.use(t, w.e, false)
		u.put(t, "one", "source")
		u.end(t, w.e)
		// It outlives its source's content and needs nothing of it.
		destroyed(t, w, it)
	}
	// One of a full volume has room, since nothing limits it.
	u = from.use(t, w.e, false)
	u.fill(t, "big", 10*mib)
	u.put(t, "one", "full")
	u.end(t, w.e)
	it, _, err := w.snapshot(t, from, engine.BestEffort)
	must(t, err)
	destroyed(t, w, from)
	w.copyOf(t, it, small).look(t, map[string]string{"one": "full"})
}

// testSnapshotOfAWriter takes several of a volume that is written to all the time.
func testSnapshotOfAWriter(t *testing.T, w *world) {
	from := w.volume(t)
	u := from.use(t, w.e, false)
	writer := write(t, u, u)
	for range 3 {
		it, cut, err := w.snapshot(t, from, engine.Atomic)
		writer.goesOn(t, "after a snapshot")
		if errors.Is(err, engine.ErrNotAtomic) && !w.e.Atomic() {
			it, _, err = w.snapshot(t, from, engine.BestEffort)
			must(t, err)
			copied := w.copyOf(t, it, small).use(t, w.e, false)
			for _, name := range []string{"first", "second"} {
				if copied.get(t, name) == "" {
					t.Errorf("%s is missing in a snapshot", name)
				}
			}
			copied.end(t, w.e)
			continue
		}
		if errors.Is(err, engine.ErrLive) && from.v.Block {
			destroyed(t, w, it)
			continue
		}
		must(t, err)
		if cut.Consistency != engine.Atomic {
			t.Errorf("%+v", cut)
		}
		copied := w.copyOf(t, it, small).use(t, w.e, false)
		instant(t, copied, copied)
		copied.end(t, w.e)
	}
	writer.end(t)
}

func testSnapshotNested(t *testing.T, w *world) {
	from := w.volume(t)
	u := from.use(t, w.e, false)
	w.Nest(t, u.path)
	for _, want := range engine.Consistencies() {
		it, _, err := w.snapshot(t, from, want)
		if !errors.Is(err, engine.ErrNested) {
			t.Errorf("%s: %v", want, err)
		}
		destroyed(t, w, it)
	}
	it := w.item(t)
	if _, err := w.e.Create(t.Context(), it.dir, w.spec(t, small), from.source()); !errors.Is(err, engine.ErrNested) {
		t.Errorf("a volume of it: %v", err)
	}
	destroyed(t, w, it)
}
