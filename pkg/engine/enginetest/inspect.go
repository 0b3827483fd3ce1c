package enginetest

import (
	"testing"

	"github.com/hostvol/hostvol/pkg/engine"
)

// healthy checks that nothing is found wrong.
func healthy(t *testing.T, e engine.Engine, it *item) {
	t.Helper()
	for _, deep := range []bool{false, true} {
		found, err := e.Inspect(t.Context(), it.dir, it.v, deep)
		must(t, err)
		if len(found) > 0 {
			t.Errorf("deep %t: %+v", deep, found)
		}
	}
}

func testInspect(t *testing.T, w *world) {
	it := w.volume(t)
	healthy(t, w.e, it)
	u := it.use(t, w.e, false)
	u.put(t, "one", "text")
	healthy(t, w.e, it)
	second := it.use(t, w.e, true)
	healthy(t, w.e, it)
	second.unmount(t)
	u.end(t, w.e)
	healthy(t, w.e, it)
	u = it.use(t, w.e, true)
	healthy(t, w.e, it)
	u.end(t, w.e)
	w.Lose(t, it.dir)
	for _, deep := range []bool{false, true} {
		found, err := w.e.Inspect(t.Context(), it.dir, it.v, deep)
		must(t, err)
		if len(found) != 1 || !found[0].Lost || found[0].Reason == "" || found[0].Message == "" {
			t.Errorf("deep %t: of a volume without content: %+v", deep, found)
		}
	}
	if _, err := w.e.Usage(t.Context(), it.dir, it.v); err == nil {
		t.Error("what is not there has a usage")
	}
	must(t, w.e.Detach(t.Context(), it.dir, it.v))
	if d := it.left(t, w.e); len(d) > 0 {
		t.Errorf("it has devices: %v", d)
	}
	w.e.Known(it.dir, it.v)
	destroyed(t, w, it)
}

func testUsage(t *testing.T, w *world) {
	it := w.volume(t)
	usage := func() engine.Usage {
		t.Helper()
		u, err := w.e.Usage(t.Context(), it.dir, it.v)
		must(t, err)
		for _, n := range []int64{u.BytesTotal, u.BytesUsed, u.BytesAvailable, u.InodesTotal, u.InodesUsed, u.InodesAvailable} {
			if n < -1 {
				t.Errorf("%+v", u)
			}
		}
		if u.BytesUsed > u.BytesTotal || u.BytesAvailable > u.BytesTotal || u.BytesShared > u.BytesUsed || u.BytesShared < 0 || u.InodesUsed > u.InodesTotal {
			t.Errorf("%+v", u)
		}
		if u.Own && u.BytesTotal != it.v.Bytes {
			t.Errorf("%+v of %d bytes", u, it.v.Bytes)
		}
		return u
	}
	if it.v.Enforced && !usage().Own {
		t.Errorf("its size is enforced, and its usage is not its own: %+v", usage())
	}
	u := it.use(t, w.e, false)
	before := usage()
	const written = 8 * mib
	u.fill(t, "big", written)
	u.sync(t)
	after := usage()
	if grew := after.BytesUsed - before.BytesUsed; before.Own && !it.v.Thick && (grew < written*9/10 || grew > written+4*mib) {
		t.Errorf("after %d bytes were written: %+v, before %+v", written, after, before)
	}
	if before.Own && before.InodesUsed >= 0 && after.InodesUsed != before.InodesUsed+1 {
		t.Errorf("after a file was made: %+v, before %+v", after, before)
	}
	if before.Own && !it.v.Thick && after.BytesAvailable > before.BytesAvailable-written*9/10 {
		t.Errorf("after %d bytes were written: %+v, before %+v", written, after, before)
	}
	u.end(t, w.e)
	usage()
	_, _, err := w.snapshot(t, it, engine.BestEffort)
	must(t, err)
	usage()
}
