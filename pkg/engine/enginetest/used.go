package enginetest

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/errno"
	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// used is a volume that is mounted on a target.
type used struct {
	it     *item
	path   string
	parent *safepath.Dir
	// id is that of the source which was mounted.
	id safepath.Identity
}

// use attaches a volume and mounts it, as a publication does.
func (it *item) use(t *testing.T, e engine.Engine, readOnly bool) *used {
	t.Helper()
	src, err := e.Attach(t.Context(), it.dir, it.v, engine.Use{ReadOnly: readOnly})
	must(t, err)
	defer src.Close() //nolint:errcheck // mounted by then
	return it.mount(t, src, readOnly)
}

func (it *item) mount(t *testing.T, src *mount.Source, readOnly bool) *used {
	t.Helper()
	dir := t.TempDir()
	parent, err := safepath.OpenRoot(dir)
	must(t, err)
	u := &used{it: it, path: filepath.Join(dir, "target"), parent: parent}
	if src.Node() {
		must(t, os.WriteFile(u.path, nil, 0o600))
	} else {
		must(t, os.Mkdir(u.path, 0o700))
	}
	u.id, err = src.Identity()
	must(t, err)
	must(t, src.Mount(parent, "target", mount.Flags{ReadOnly: readOnly}))
	t.Cleanup(func() {
		u.unmount(t)
		_ = parent.Close()
	})
	state, err := mount.Look(parent, "target")
	must(t, err)
	if !state.Mounted || state.Identity != u.id {
		t.Errorf("what is mounted is %+v, and was said to be %v", state, u.id)
	}
	return u
}

// unmount waits for children of the test that have not closed its files yet.
func (u *used) unmount(t *testing.T) {
	t.Helper()
	var err error
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if _, err = mount.Unmount(u.parent, "target"); !errno.Busy(err) {
			break
		}
	}
	if err != nil {
		t.Errorf("unmount: %v", err)
	}
}

// end ends the use, the volume's only one.
func (u *used) end(t *testing.T, e engine.Engine) {
	t.Helper()
	u.unmount(t)
	must(t, e.Detach(t.Context(), u.it.dir, u.it.v))
}

// slot is where a raw device keeps the text of a name.
func slot(name string) int64 {
	at := int64(0)
	for _, c := range name {
		at = at*31 + int64(c)
	}
	return (at % 1000) * 4096
}

// width is that of every text.
const width = 16

// open opens a file of the volume, or the device.
func (u *used) open(name string, flags int) (f *os.File, at int64, err error) {
	if u.it.v.Block {
		f, err = os.OpenFile(u.path, flags&^os.O_CREATE, 0)
		return f, slot(name), err
	}
	f, err = os.OpenFile(filepath.Join(u.path, name), flags, 0o600)
	return f, 0, err
}

// tryPut writes a short text under a name, durably.
func (u *used) tryPut(name, text string) error {
	f, at, err := u.open(name, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(text+strings.Repeat(" ", width-len(text))), at)
	return errors.Join(err, f.Sync(), f.Close())
}

func (u *used) put(t *testing.T, name, text string) {
	t.Helper()
	if err := u.tryPut(name, text); err != nil {
		t.Fatalf("write to the volume: %v", err)
	}
}

// get is what was put, "" for nothing.
func (u *used) get(t *testing.T, name string) string {
	t.Helper()
	f, at, err := u.open(name, os.O_RDONLY)
	if errors.Is(err, os.ErrNotExist) {
		return ""
	}
	must(t, err)
	defer f.Close() //nolint:errcheck // read only
	b := make([]byte, width)
	if _, err := f.ReadAt(b, at); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return strings.Trim(string(b), " \x00")
}

// holds checks texts by their names.
func (u *used) holds(t *testing.T, want map[string]string) {
	t.Helper()
	for name, text := range want {
		if got := u.get(t, name); got != text {
			t.Errorf("%s holds %q, want %q", name, got, text)
		}
	}
}

// look mounts a volume for a moment and checks texts.
func (it *item) look(t *testing.T, want map[string]string) {
	t.Helper()
	u := it.use(t, it.w.e, false)
	u.holds(t, want)
	u.end(t, it.w.e)
}

// fill writes so many bytes that do not compress.
func (u *used) fill(t *testing.T, name string, bytes int64) {
	t.Helper()
	f, _, err := u.open(name, os.O_RDWR|os.O_CREATE)
	must(t, err)
	block := make([]byte, mib)
	random := rand.NewChaCha8([32]byte{})
	for at := int64(0); at < bytes; at += mib {
		_, _ = random.Read(block)
		_, err := f.WriteAt(block, at)
		must(t, err)
	}
	must(t, errors.Join(f.Sync(), f.Close()))
}

// most finds out how much a file, or the device, can take of so many bytes, and
// what the kernel says to more. It takes space without writing.
func (u *used) most(bytes int64) (taken int64, err error) {
	const step = 2 * mib
	if u.it.v.Block {
		return u.mostOfDevice(bytes)
	}
	path := filepath.Join(u.path, "most")
	err = limited(func() error {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		for taken < bytes && err == nil {
			if err = unix.Fallocate(int(f.Fd()), 0, taken, step); err == nil {
				taken += step
			}
		}
		return errors.Join(err, f.Close(), os.Remove(path))
	})
	return taken, err
}

// mostOfDevice writes to the last bytes of a device, and behind them.
func (u *used) mostOfDevice(bytes int64) (taken int64, err error) {
	f, err := os.OpenFile(u.path, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	if taken, err = f.Seek(0, io.SeekEnd); err == nil {
		_, err = f.WriteAt(make([]byte, 512), taken-512)
	}
	if err == nil && taken < bytes {
		_, err = f.WriteAt(make([]byte, 512), taken)
	}
	return taken, errors.Join(err, f.Sync(), f.Close())
}

// tops tells an error of a limit.
func tops(err error) bool {
	return errno.NoSpace(err) || errors.Is(err, unix.EDQUOT) || errors.Is(err, io.ErrShortWrite)
}

// sync makes usage, and the rest, known to the kernel's books.
func (u *used) sync(t *testing.T) {
	t.Helper()
	if u.it.v.Block {
		return
	}
	dir, err := safepath.OpenRoot(u.path)
	must(t, err)
	must(t, errors.Join(dir.SyncFS(), dir.Close()))
}

// devices are those that are attached, which have to exist.
func (it *item) devices(t *testing.T, e engine.Engine) []string {
	t.Helper()
	names, err := e.Devices(context.Background(), it.dir, it.v)
	must(t, err)
	for _, name := range names {
		if _, err := os.Stat("/dev/" + name); err != nil {
			t.Error(err)
		}
	}
	slices.Sort(names)
	return names
}

// left are the devices that are still attached after a while: a child that was
// forked meanwhile can have one open until it executes its program.
func (it *item) left(t *testing.T, e engine.Engine) (names []string) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if names = it.devices(t, e); len(names) == 0 {
			break
		}
	}
	return names
}
