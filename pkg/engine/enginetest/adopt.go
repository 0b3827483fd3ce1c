package enginetest

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// outside makes a directory on the pool's filesystem, with a file.
func (w *world) outside(t *testing.T, name string) engine.Entry {
	t.Helper()
	must(t, w.Root.Mkdir(name, 0o700))
	path := filepath.Join(w.Root.Name(), name)
	t.Cleanup(func() { _ = os.RemoveAll(path) })
	must(t, os.Mkdir(filepath.Join(path, "deep"), 0o755))
	must(t, os.WriteFile(filepath.Join(path, "one"), []byte("outside"), 0o600))
	must(t, os.WriteFile(filepath.Join(path, "deep/two"), []byte("outside"), 0o600))
	must(t, os.Chown(path, uid, gid))
	must(t, unix.Chmod(path, mode))
	return engine.Entry{Parent: w.Root, Name: name}
}

func stays(t *testing.T, src engine.Entry) {
	t.Helper()
	for _, name := range []string{"one", "deep/two"} {
		b, err := os.ReadFile(filepath.Join(src.Parent.Name(), src.Name, name))
		if err != nil || string(b) != "outside" {
			t.Errorf("%s of what was not taken over: %q %v", name, b, err)
		}
	}
}

func testImport(t *testing.T, w *world) {
	spec := w.spec(t, small)
	if !w.Adopts {
		src, it := w.outside(t, "import "+nameOf(w.form)), w.item(t)
		for _, convert := range []bool{false, true} {
			_, err := w.e.Import(t.Context(), it.dir, src, spec, convert, func(engine.Volume) error {
				t.Error("about to move")
				return nil
			})
			if !errors.Is(err, engine.ErrForm) {
				t.Errorf("convert %t: %v", convert, err)
			}
			stays(t, src)
		}
		return
	}
	refuse := errors.New("not now")
	for _, convert := range []bool{false, true} {
		if convert && !w.e.Enforcement().On() {
			src, it := w.outside(t, "unlimited"), w.item(t)
			if _, err := w.e.Import(t.Context(), it.dir, src, spec, true, func(engine.Volume) error { return nil }); err == nil {
				t.Error("converted without limits")
			}
			stays(t, src)
			destroyed(t, w, it)
			continue
		}
		// One that is refused at the last moment stays.
		src, it := w.outside(t, "refused"), w.item(t)
		called := false
		_, err := w.e.Import(t.Context(), it.dir, src, spec, convert, func(engine.Volume) error { called = true; return refuse })
		stays(t, src)
		if called && !errors.Is(err, refuse) || !called && err != nil {
			t.Errorf("convert %t: %v", convert, err)
		}
		destroyed(t, w, it)
		must(t, os.RemoveAll(filepath.Join(src.Parent.Name(), src.Name)))

		src, it = w.outside(t, "taken"), w.item(t)
		var told *engine.Volume
		it.v, err = w.e.Import(t.Context(), it.dir, src, spec, convert, func(v engine.Volume) error {
			told = &v
			stays(t, src)
			return nil
		})
		must(t, err)
		if told != nil && *told != it.v {
			t.Errorf("told of %+v, made %+v", *told, it.v)
		}
		if told == nil {
			stays(t, src)
		} else if there, err := src.Parent.Exists(src.Name); err != nil || there {
			t.Errorf("taken over, and there: %v", err)
		}
		if it.v.Bytes != spec.Bytes || it.v.Enforced != convert {
			t.Errorf("%+v", it.v)
		}
		u := it.use(t, w.e, false)
		rootIs(t, u, mode, uid, gid)
		u.holds(t, map[string]string{"one": "outside", "deep/two": "outside"})
		if written, err := u.most(it.v.Bytes + 8*mib); tops(err) != it.v.Enforced {
			t.Errorf("convert %t: %d bytes were written: %v", convert, written, err)
		}
		u.end(t, w.e)
		must(t, os.RemoveAll(filepath.Join(src.Parent.Name(), src.Name)))
	}
}

func testExport(t *testing.T, w *world) {
	it := w.volume(t)
	u := it.use(t, w.e, false)
	u.put(t, "one", "text")
	u.end(t, w.e)
	must(t, w.Root.Mkdir("export "+nameOf(w.form), 0o700))
	to, err := w.Root.OpenDir("export " + nameOf(w.form))
	must(t, err)
	t.Cleanup(func() { _ = to.Close() })
	// What is there is not replaced, and nothing was moved.
	must(t, to.Mkdir("taken", 0o700))
	if err := w.e.Export(t.Context(), it.dir, it.v, engine.Entry{Parent: to, Name: "taken"}); !errors.Is(err, os.ErrExist) {
		t.Errorf("over a directory: %v", err)
	}
	it.look(t, map[string]string{"one": "text"})
	limitBinds(t, w, it)
	must(t, w.e.Export(t.Context(), it.dir, it.v, engine.Entry{Parent: to, Name: "out"}))
	exported(t, w, it, to)
	// What is left is destroyed, and takes nothing of what was moved with it.
	destroyed(t, w, it)
	exported(t, w, it, to)
}

// limitBinds checks that the limit is in force.
func limitBinds(t *testing.T, w *world, it *item) {
	t.Helper()
	u := it.use(t, w.e, false)
	if written, err := u.most(it.v.Bytes + 8*mib); tops(err) != it.v.Enforced {
		t.Errorf("%d bytes of %d were written: %v", written, it.v.Bytes, err)
	}
	u.end(t, w.e)
}

// exported looks at what was moved out: a directory without limits, or a disk.
func exported(t *testing.T, w *world, it *item, to *safepath.Dir) {
	t.Helper()
	path := filepath.Join(to.Name(), "out")
	info, err := os.Stat(path)
	must(t, err)
	if !info.IsDir() {
		if info.Mode().IsRegular() && info.Size() != it.v.Bytes {
			t.Errorf("a disk of %d bytes has %d", it.v.Bytes, info.Size())
		}
		return
	}
	u := &used{it: &item{w: w}, path: path}
	u.holds(t, map[string]string{"one": "text"})
	if written, err := u.most(it.v.Bytes + 8*mib); err != nil {
		t.Errorf("after %d bytes: %v", written, err)
	}
}
