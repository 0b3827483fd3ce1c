package enginetest

import (
	"errors"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/engine"
)

// room is what can be written to a volume in use: of a filesystem or a device.
func (u *used) room(t *testing.T) int64 {
	t.Helper()
	if u.it.v.Block {
		f, err := os.Open(u.path)
		must(t, err)
		defer f.Close() //nolint:errcheck // read only
		size, err := f.Seek(0, io.SeekEnd)
		must(t, err)
		return size
	}
	var st unix.Statfs_t
	must(t, unix.Statfs(u.path, &st))
	return int64(st.Blocks) * st.Bsize
}

// applies calls Apply more than once.
func applies(t *testing.T, e engine.Engine, it *item) {
	t.Helper()
	for range 2 {
		must(t, e.Apply(t.Context(), it.dir, it.v))
	}
}

// testApply: growth of a volume that is not in use, and what start-up does.
func testApply(t *testing.T, w *world) {
	it := w.volume(t)
	applies(t, w.e, it)
	u := it.use(t, w.e, false)
	u.put(t, "one", "text")
	before := u.room(t)
	u.end(t, w.e)
	for _, bytes := range []int64{2*it.v.Bytes + 1, 3*it.v.Bytes + 4097} { // odd ones
		it.v.Bytes = w.size(t, bytes)
		applies(t, w.e, it)
		if d := it.left(t, w.e); len(d) > 0 {
			t.Errorf("attached: %v", d)
		}
	}
	// As after a kill before the growth: the record has another size.
	it.v.Bytes = w.size(t, it.v.Bytes+5*mib)
	next := w.open(t, holdFor)
	next.Known(it.dir, it.v)
	applies(t, next, it)
	u = it.use(t, next, false)
	grown(t, it, before, u.room(t))
	u.holds(t, map[string]string{"one": "text"})
	u.end(t, next)
	healthy(t, next, it)
	limitBinds(t, w, it)
}

// grown compares sizes where they are the volume's own.
func grown(t *testing.T, it *item, before, after int64) {
	t.Helper()
	if it.v.Block && after != it.v.Bytes || it.v.FSType != "" && (after <= before || after > it.v.Bytes || after < it.v.Bytes*6/10) {
		t.Errorf("a volume of %d bytes has room for %d, before it was %d", it.v.Bytes, after, before)
	}
}

// testApplyInUse: growth of a volume that is mounted, and written to.
func testApplyInUse(t *testing.T, w *world) {
	it := w.volume(t)
	u := it.use(t, w.e, false)
	second := it.use(t, w.e, true)
	writer := write(t, u, u)
	before, later := u.room(t), false
	for range 3 {
		it.v.Bytes = w.size(t, it.v.Bytes+32*mib+1)
		for range 2 {
			err := w.e.Apply(t.Context(), it.dir, it.v)
			if later = errors.Is(err, engine.ErrLater); !later {
				must(t, err)
			}
		}
		writer.goesOn(t, "after it has grown")
	}
	if later { // the kernel, or what this process may not, is in the way
		writer.end(t)
		second.unmount(t)
		u.end(t, w.e)
		u = it.use(t, w.e, false)
		second = it.use(t, w.e, true)
		writer = write(t, u, u)
		applies(t, w.e, it)
	}
	grown(t, it, before, u.room(t))
	grown(t, it, before, second.room(t))
	usage, err := w.e.Usage(t.Context(), it.dir, it.v)
	must(t, err)
	if usage.Own && usage.BytesTotal > it.v.Bytes || usage.Own && usage.BytesTotal < it.v.Bytes*6/10 {
		t.Errorf("%+v of %d bytes", usage, it.v.Bytes)
	}
	writer.end(t)
	healthy(t, w.e, it)
	second.unmount(t)
	u.end(t, w.e)
	limitBinds(t, w, it)
}

// testKnown: what belongs to volumes that exist is given to no other.
func testKnown(t *testing.T, w *world) {
	old, unreadable := w.volume(t), w.volume(t)
	next := w.open(t, holdFor)
	next.Known(old.dir, old.v)
	next.Known(unreadable.dir, engine.Volume{}) // its record cannot be read
	next.Known(w.item(t).dir, engine.Volume{})  // and this one is empty
	for range 3 {
		it := w.item(t)
		v, err := next.Create(t.Context(), it.dir, w.spec(t, small), nil)
		must(t, err)
		it.v = v
		if v.Project != 0 && (v.Project == old.v.Project || v.Project == unreadable.v.Project) {
			t.Errorf("%+v has what belongs to %+v or %+v", v, old.v, unreadable.v)
		}
	}
	limitBinds(t, w, old)
}
