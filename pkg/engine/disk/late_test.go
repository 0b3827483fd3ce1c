package disk_test

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/engine/disk"
	"github.com/hostvol/hostvol/pkg/engine/disk/loop"
	"github.com/hostvol/hostvol/pkg/host/hosttest"
	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// patience is how long a slow machine may take for what is over in a moment.
const patience = 30 * time.Second

// writes waits until a file can be written durably.
func writes(t *testing.T, dir string) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- os.WriteFile(filepath.Join(dir, "now"), []byte("text"), 0o600) }()
	select {
	case err := <-done:
		must(t, err)
	case <-time.After(patience):
		t.Errorf("a write to %s hangs", dir)
	}
}

// endless starts a write to a file that does not end before release is called.
func endless(t *testing.T, dir string) (release func()) {
	t.Helper()
	r, w, err := os.Pipe()
	must(t, err)
	file, err := os.Create(filepath.Join(dir, "spliced"))
	must(t, err)
	done := make(chan error, 1)
	go func() {
		_, err := unix.Splice(int(r.Fd()), nil, int(file.Fd()), nil, 4, 0)
		done <- errors.Join(err, file.Close(), r.Close())
	}()
	time.Sleep(200 * time.Millisecond) // for the splice to be under way
	release = sync.OnceFunc(func() {
		_, err := w.WriteString("text")
		must(t, errors.Join(err, w.Close(), <-done))
	})
	t.Cleanup(release)
	return release
}

// A write of one volume's user that does not end keeps that volume from being frozen,
// and no other: those of its group go on, no further guard is started for it, and it
// is a finding until the write ends.
func TestAFreezeThatWaits(t *testing.T) {
	a := one(t, hosttest.XFS(t, 512, ""), engine.Form{FSType: "ext4"}, 64*mib)
	a.e = a.open(time.Second)
	b := &fixture{t: t, setup: a.setup, e: a.e, item: a.mkdir("b"), image: filepath.Join(a.setup.Root.Name(), "b", "image")}
	var err error
	b.v, err = b.e.Create(t.Context(), b.item, engine.Spec{Bytes: 64 * mib, Mode: 0o777, Form: a.v.Form}, nil)
	must(t, err)
	first, second := a.publish(), b.publish()
	release := endless(t, second)
	both := []engine.Source{{Item: a.item, Volume: a.v}, {Item: b.item, Volume: b.v}}
	_, err = a.e.Hold(t.Context(), both)
	is(t, err, engine.ErrThawed, "does not end")
	writes(t, first)
	for range 3 {
		_, err = a.e.Hold(t.Context(), both)
		is(t, err, engine.ErrBusy, "does not end")
		writes(t, first)
	}
	b.inspect(engine.Frozen)
	a.inspect()
	held, err := a.e.Hold(t.Context(), both[:1]) // the other can be copied by itself
	must(t, err)
	must(t, held.Release())
	release()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if held, err = a.e.Hold(t.Context(), both); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("after the write has ended: %v", err)
		}
	}
	must(t, held.Release())
	b.inspect()
	for _, item := range []*safepath.Dir{a.item, b.item} {
		if _, err := item.Attribute("trusted.hostvol.frozen", 1); err == nil {
			t.Error("the note of a freeze is left")
		}
	}
	writes(t, second)
	b.unmount(second)
	b.detach()
}

// failing is a backing that cannot detach some times.
type failing struct {
	disk.Backing
	times int
}

var errDetach = errors.New("it does not come off")

func (f *failing) Detach(item *safepath.Dir, d disk.Device) (bool, error) {
	if f.times--; f.times >= 0 {
		return false, errDetach
	}
	return f.Backing.Detach(item, d)
}

// What a create could not detach is detached before its disk is removed: no device of
// a disk that is gone is left, which no start would find.
func TestACreateThatCannotDetach(t *testing.T) {
	for times := 1; times < 4; times++ {
		f := one(t, hosttest.XFS(t, 512, ""), engine.Form{FSType: "ext4"}, 64*mib)
		b, err := loop.Open(loop.Options{Staging: f.setup.Root})
		must(t, err)
		room, err := mount.OpenRoom(filepath.Join(t.TempDir(), "room"))
		must(t, err)
		e := disk.Open(disk.Options{Backing: &failing{b, times}, Room: room})
		item := f.mkdir("failed")
		v, err := e.Create(t.Context(), item, engine.Spec{Bytes: 64 * mib, Form: f.v.Form}, nil)
		is(t, err, errDetach)
		image := filepath.Join(f.setup.Root.Name(), "failed", "image")
		for i := 1; ; i++ {
			err := e.Destroy(t.Context(), f.setup.Root, "failed", v, nil)
			if err == nil {
				break
			}
			is(t, err, errDetach)
			if _, err := os.Stat(image); err != nil || i > times {
				t.Fatalf("its disk was removed: %v", err)
			}
		}
		if left := sh(t, "losetup -nlO BACK-FILE | grep "+f.setup.Root.Name()+" || true"); left != "" {
			t.Errorf("devices are left: %s", left)
		}
		must(t, e.Close())
		must(t, room.Close())
	}
}
