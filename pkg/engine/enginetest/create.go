package enginetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/errno"
)

// testEngine tries what is not of a volume: Name, Enforcement, Size.
func testEngine(t *testing.T, p *pool) {
	if p.e.Name() == "" {
		t.Error("it has no name")
	}
	if en := p.e.Enforcement(); en.On() == (en.Reason != "") {
		t.Errorf("%+v: either a method or a reason", en)
	}
	for _, form := range p.Forms {
		for _, size := range []int64{1, 511, 513, 4095, small, small + 1, 1<<40 + 3} {
			made, err := p.e.Size(size, form)
			if err != nil || made < size {
				t.Errorf("%s of %d bytes: %d, %v", nameOf(form), size, made, err)
			}
			if again, err := p.e.Size(made, form); err != nil || again != made {
				t.Errorf("%s of %d bytes: %d, and of that %d, %v", nameOf(form), size, made, again, err)
			}
		}
	}
	for _, form := range p.Refused {
		if _, err := p.e.Size(small, form); !errors.Is(err, engine.ErrForm) {
			t.Errorf("%+v: %v", form, err)
		}
	}
}

// rootIs checks owner and mode of a root directory.
func rootIs(t *testing.T, u *used, mode uint32, uid, gid int) {
	t.Helper()
	if u.it.v.Block {
		return
	}
	var st unix.Stat_t
	must(t, unix.Stat(u.path, &st))
	if st.Mode&0o7777 != mode || int(st.Uid) != uid || int(st.Gid) != gid {
		t.Errorf("the root is %o of %d:%d, want %o of %d:%d", st.Mode&0o7777, st.Uid, st.Gid, mode, uid, gid)
	}
}

func testCreate(t *testing.T, w *world) {
	for _, policy := range engine.Policies() {
		if policy == engine.Required && !w.e.Enforcement().On() {
			continue
		}
		it := w.item(t)
		spec := w.spec(t, small+1)
		spec.Enforce = policy
		v, err := w.e.Create(t.Context(), it.dir, spec, nil)
		must(t, err)
		it.v = v
		if v.Bytes != spec.Bytes || v.Form != spec.Form {
			t.Errorf("%+v was made of %+v", v, spec)
		}
		if v.Enforced && !w.e.Enforcement().On() || !v.Enforced && w.e.Enforcement().On() && policy != engine.None {
			t.Errorf("%s: enforced is %t", policy, v.Enforced)
		}
		if d := it.left(t, w.e); len(d) > 0 {
			t.Errorf("attached after it was made: %v", d)
		}
		u := it.use(t, w.e, false)
		rootIs(t, u, mode, uid, gid)
		isEmpty(t, u)
		u.end(t, w.e)
	}
}

// isEmpty allows what mkfs puts into a filesystem.
func isEmpty(t *testing.T, u *used) {
	t.Helper()
	if !u.it.v.Block {
		found, err := os.ReadDir(u.path)
		must(t, err)
		if i := slices.IndexFunc(found, func(e os.DirEntry) bool { return e.Name() != "lost+found" }); i >= 0 {
			t.Errorf("a new volume holds %s", found[i].Name())
		}
		return
	}
	f, err := os.Open(u.path)
	must(t, err)
	defer f.Close() //nolint:errcheck // read only
	if size, err := f.Seek(0, io.SeekEnd); err != nil || size != u.it.v.Bytes {
		t.Errorf("the device has %d bytes of %d: %v", size, u.it.v.Bytes, err)
	}
	_, err = f.Seek(0, io.SeekStart)
	must(t, err)
	block, zeros := make([]byte, mib), make([]byte, mib)
	for {
		n, err := f.Read(block)
		if !bytes.Equal(block[:n], zeros[:n]) {
			t.Fatal("a new device is not empty")
		}
		if errors.Is(err, io.EOF) {
			return
		}
		must(t, err)
	}
}

// testEnforce tries that a limit binds, with and without a source.
func testEnforce(t *testing.T, w *world) {
	from := w.volume(t)
	for name, it := range map[string]*item{"empty": from, "copy": w.copyOf(t, from, small)} {
		u := it.use(t, w.e, false)
		written, err := u.most(it.v.Bytes + 8*mib)
		switch {
		case !it.v.Enforced:
			if err != nil {
				t.Errorf("%s: not enforced, and %d bytes could be written: %v", name, written, err)
			}
		case !tops(err) || written > it.v.Bytes || written < it.v.Bytes/4:
			t.Errorf("%s: %d bytes of %d could be written: %v", name, written, it.v.Bytes, err)
		}
		u.end(t, w.e)
	}
}

func testCreateFrom(t *testing.T, w *world) {
	from := w.volume(t)
	at := from.use(t, w.e, false)
	if !from.v.Block {
		must(t, os.Chown(at.path, 77, 88))
		must(t, os.Chmod(at.path, 0o710))
	}
	at.put(t, "one", "source")
	at.put(t, "two", "source")
	at.end(t, w.e)
	to := w.copyOf(t, from, 2*small)
	if want := w.size(t, 2*small); to.v.Bytes != want || to.v.Form != w.form || to.v.Enforced != from.v.Enforced {
		t.Errorf("%+v, want %d bytes", to.v, want)
	}
	if d := append(to.devices(t, w.e), from.devices(t, w.e)...); len(d) > 0 {
		t.Errorf("attached after the copy: %v", d)
	}
	// Both at the same time, in either order.
	for _, first := range []*item{from, to} {
		a := first.use(t, w.e, false)
		b := map[*item]*item{from: to, to: from}[first].use(t, w.e, false)
		rootIs(t, a, 0o710, 77, 88)
		rootIs(t, b, 0o710, 77, 88)
		a.holds(t, map[string]string{"one": "source"})
		b.holds(t, map[string]string{"one": "source"})
		a.put(t, "two", a.it.name)
		b.put(t, "two", b.it.name)
		a.holds(t, map[string]string{"two": a.it.name})
		b.holds(t, map[string]string{"two": b.it.name})
		a.end(t, w.e)
		b.end(t, w.e)
	}
	from.look(t, map[string]string{"one": "source", "two": from.name})
	// A copy of the copy, while both are in use.
	a, b := from.use(t, w.e, false), to.use(t, w.e, false)
	held, err := w.e.Hold(t.Context(), []engine.Source{*to.source()})
	must(t, err)
	third := w.item(t)
	src := to.source()
	src.Live = held.Live
	progress := engine.Progress{}
	src.Progress = func(p engine.Progress) { progress = p }
	third.v, err = w.e.Create(t.Context(), third.dir, w.spec(t, 2*small), src)
	must(t, held.Release())
	if errors.Is(err, engine.ErrLive) && held.Live {
		a.end(t, w.e)
		b.end(t, w.e)
		return
	}
	must(t, err)
	if progress.Files < 0 || progress.Bytes < 0 {
		t.Errorf("%+v", progress)
	}
	third.use(t, w.e, false).holds(t, map[string]string{"one": "source", "two": to.name})
}

// testCreateFromElsewhere copies between two pools.
func testCreateFromElsewhere(t *testing.T, w *world) {
	far := &world{pool: w.other(), form: w.form, other: w.other}
	from := far.volume(t)
	u := from.use(t, far.e, false)
	u.put(t, "one", "far")
	u.end(t, far.e)
	held, err := far.e.Hold(t.Context(), []engine.Source{*from.source()})
	must(t, err)
	taken := 0
	src := from.source()
	src.Taken = func() error { taken++; return held.Release() }
	it := w.item(t)
	it.v, err = w.e.Create(t.Context(), it.dir, w.spec(t, small), src)
	must(t, err)
	must(t, held.Release())
	if taken > 1 {
		t.Errorf("Taken was called %d times", taken)
	}
	it.look(t, map[string]string{"one": "far"})
	from.w = far
	from.look(t, map[string]string{"one": "far"})
}

// testCreateFails: whatever an error leaves, Destroy takes away; and the source is
// as before.
func testCreateFails(t *testing.T, w *world) {
	from := w.volume(t)
	u := from.use(t, w.e, false)
	u.put(t, "one", "source")
	u.fill(t, "big", 8*mib)
	u.put(t, "one", "source")
	u.end(t, w.e)
	over := func() error { return errors.New("it was too late") }
	for name, try := range map[string]func(ctx context.Context, it *item) error{
		"cancelled": func(ctx context.Context, it *item) error {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			_, err := w.e.Create(ctx, it.dir, w.spec(t, small), nil)
			return err
		},
		"cancelled copy": func(ctx context.Context, it *item) error {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			_, err := w.e.Create(ctx, it.dir, w.spec(t, small), from.source())
			return err
		},
		"source without content": func(ctx context.Context, it *item) error {
			_, err := w.e.Create(ctx, it.dir, w.spec(t, small), w.item(t).source())
			return err
		},
		"too late": func(ctx context.Context, it *item) error {
			src := from.source()
			called := false
			src.Taken = func() error { called = true; return over() }
			_, err := w.e.Create(ctx, it.dir, w.spec(t, small), src)
			if called && err == nil {
				t.Error("a copy that was too late succeeded")
			}
			return err
		},
		"too small": func(ctx context.Context, it *item) error {
			spec := w.spec(t, small)
			spec.Bytes = 2 * mib
			_, err := w.e.Create(ctx, it.dir, spec, from.source())
			if from.v.Enforced && !errno.NoSpace(err) {
				t.Errorf("a copy of %d bytes in %d: %v", from.v.Bytes, spec.Bytes, err)
			}
			return err
		},
	} {
		it := w.item(t)
		_ = try(t.Context(), it)
		if d := it.left(t, w.e); len(d) > 0 {
			t.Errorf("%s: attached: %v", name, d)
		}
		destroyed(t, w, it)
	}
	from.look(t, map[string]string{"one": "source"})
}

// destroyed destroys an item, twice, and checks that it is gone.
func destroyed(t *testing.T, w *world, it *item) {
	t.Helper()
	for range 2 {
		if err := w.e.Destroy(context.WithoutCancel(t.Context()), w.items, it.name, it.v, nil); err != nil {
			t.Errorf("destroy: %v", err)
		}
	}
	if there, err := w.items.Exists(it.name); err != nil || there {
		t.Errorf("there after it was destroyed: %t %v", there, err)
	}
}
