package enginetest

import (
	"errors"
	"os"
	"slices"
	"testing"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// shows lists what Attached gives, by identity.
func shows(t *testing.T, e engine.Engine, it *item) []safepath.Identity {
	t.Helper()
	all, err := e.Attached(t.Context(), it.dir, it.v)
	must(t, err)
	var ids []safepath.Identity
	for _, src := range all {
		id, err := src.Identity()
		must(t, err)
		must(t, src.Close())
		ids = append(ids, id)
	}
	return ids
}

func testAttach(t *testing.T, w *world) {
	it := w.volume(t)
	idle := shows(t, w.e, it) // where nothing is attached, what is there is there always
	u := it.use(t, w.e, false)
	u.put(t, "one", "text")
	devices := it.devices(t, w.e)
	for range 2 { // repeated, and closed without having been mounted
		src, err := w.e.Attach(t.Context(), it.dir, it.v, engine.Use{})
		must(t, err)
		id, err := src.Identity()
		must(t, err)
		if id != u.id || src.Node() != it.v.Block {
			t.Errorf("another source: %v, %v before", id, u.id)
		}
		must(t, src.Close())
	}
	second := it.use(t, w.e, false)
	second.holds(t, map[string]string{"one": "text"})
	if again := it.devices(t, w.e); !slices.Equal(again, devices) {
		t.Errorf("%v, %v at first", again, devices)
	}
	if ids := shows(t, w.e, it); !slices.Equal(ids, []safepath.Identity{u.id}) {
		t.Errorf("attached are %v, mounted is %v", ids, u.id)
	}
	second.unmount(t)
	u.put(t, "one", "more")
	u.end(t, w.e)
	if d := it.left(t, w.e); len(d) > 0 {
		t.Errorf("attached after it was detached: %v", d)
	}
	if ids := shows(t, w.e, it); !slices.Equal(ids, idle) {
		t.Errorf("attached are %v, before it was used %v", ids, idle)
	}
	it.look(t, map[string]string{"one": "more"})
	// There is nothing to attach.
	empty := w.item(t)
	if src, err := w.e.Attach(t.Context(), empty.dir, it.v, engine.Use{}); err == nil {
		t.Error("an empty item was attached")
		_ = src.Close()
	}
	if d := empty.left(t, w.e); len(d) > 0 {
		t.Errorf("an empty item has %v", d)
	}
}

// testAttachReadOnly: one use writes and the other cannot, in every order.
func testAttachReadOnly(t *testing.T, w *world) {
	it := w.volume(t)
	it.use(t, w.e, false).end(t, w.e)
	for _, first := range []bool{true, false} {
		a := it.use(t, w.e, first)
		b := it.use(t, w.e, !first)
		writes, reads := a, b
		if first {
			writes, reads = b, a
		}
		writes.put(t, "one", "text")
		reads.holds(t, map[string]string{"one": "text"})
		for range 2 {
			if err := reads.tryPut("one", "no"); err == nil {
				t.Error("written to a read-only use")
			}
		}
		for _, flag := range []int{os.O_WRONLY, os.O_RDWR} { // a device may be opened so, and takes nothing
			if f, err := os.OpenFile(reads.path, flag, 0); err == nil {
				_, werr := f.WriteAt(make([]byte, 4096), slot("one"))
				if err := errors.Join(werr, f.Sync(), f.Close()); err == nil {
					t.Error("written to a read-only device")
				}
			}
		}
		writes.holds(t, map[string]string{"one": "text"})
		ids := shows(t, w.e, it)
		for _, u := range []*used{writes, reads} {
			if !slices.Contains(ids, u.id) {
				t.Errorf("attached are %v, mounted is %v", ids, u.id)
			}
		}
		if len(ids) > 2 || len(it.devices(t, w.e)) > 2 {
			t.Errorf("too many: %v, %v", ids, it.devices(t, w.e))
		}
		writes.unmount(t)
		reads.end(t, w.e)
		if d := it.left(t, w.e); len(d) > 0 {
			t.Errorf("attached after it was detached: %v", d)
		}
	}
	// Alone.
	u := it.use(t, w.e, true)
	u.holds(t, map[string]string{"one": "text"})
	if err := u.tryPut("one", "no"); err == nil {
		t.Error("written to the only, read-only use")
	}
	u.end(t, w.e)
	it.look(t, map[string]string{"one": "text"})
}

func testAttachOptions(t *testing.T, w *world) {
	it := w.volume(t)
	for _, readOnly := range []bool{false, true} {
		if _, err := w.e.Attach(t.Context(), it.dir, it.v, engine.Use{ReadOnly: readOnly, Options: []string{"no_such_option"}}); !errors.Is(err, engine.ErrForm) {
			t.Errorf("an option that is none: %v", err)
		}
		if d := it.left(t, w.e); len(d) > 0 {
			t.Errorf("attached after an error: %v", d)
		}
	}
	options := []string(nil)
	if w.Options != nil {
		options = w.Options(w.form)
	}
	src, err := w.e.Attach(t.Context(), it.dir, it.v, engine.Use{Options: options})
	must(t, err)
	u := it.mount(t, src, false)
	must(t, src.Close())
	u.put(t, "one", "text")
	u.end(t, w.e)
}

// testDetach: what is detached is detached, whatever was attached before.
func testDetach(t *testing.T, w *world) {
	it, empty := w.volume(t), w.item(t)
	for _, i := range []*item{it, empty} {
		for range 2 {
			must(t, w.e.Detach(t.Context(), i.dir, i.v))
			must(t, w.e.Detach(t.Context(), i.dir, engine.Volume{})) // one whose record is lost
		}
	}
	src, err := w.e.Attach(t.Context(), it.dir, it.v, engine.Use{}) // never mounted
	must(t, err)
	must(t, src.Close())
	must(t, w.e.Detach(t.Context(), it.dir, engine.Volume{}))
	if d := it.left(t, w.e); len(d) > 0 {
		t.Errorf("attached after it was detached: %v", d)
	}
	u := it.use(t, w.e, false)
	u.put(t, "one", "text")
	// Somebody else looks at a device while it is detached, and it is used again.
	devices := it.devices(t, w.e)
	var looking []*os.File
	for _, name := range devices {
		f, err := os.Open("/dev/" + name)
		must(t, err)
		looking = append(looking, f)
	}
	u.end(t, w.e)
	u = it.use(t, w.e, false)
	for _, f := range looking {
		must(t, f.Close())
	}
	u.holds(t, map[string]string{"one": "text"})
	u.put(t, "one", "back")
	if now := it.devices(t, w.e); len(now) != len(devices) {
		t.Errorf("devices %v, before %v", now, devices)
	}
	u.end(t, w.e)
	if d := it.left(t, w.e); len(d) > 0 {
		t.Errorf("attached after it was detached: %v", d)
	}
}
