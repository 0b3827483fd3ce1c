package disk_test

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/hosttest"
	hostloop "github.com/hostvol/hostvol/pkg/host/loop"
)

// second attaches the image once more, as the driver does, for as long as use takes.
func (f *fixture) second(use func(device string)) hostloop.Device {
	f.t.Helper()
	image, err := os.OpenFile(f.image, os.O_RDWR, 0)
	must(f.t, err)
	defer image.Close()
	d, err := hostloop.Attach(f.t.Context(), image, hostloop.Options{})
	must(f.t, err)
	use(d.Path())
	_, err = hostloop.Detach(image, d)
	must(f.t, err)
	return d
}

// looks is what any number of callers ask at any time. It returns how often they did.
func (f *fixture) looks(d time.Duration) int64 {
	f.t.Helper()
	var looks atomic.Int64
	var all sync.WaitGroup
	end := time.Now().Add(d)
	for range 4 {
		all.Go(func() {
			for time.Now().Before(end) {
				out, err := f.e.Attached(f.t.Context(), f.item, f.v)
				for _, src := range out {
					err = errors.Join(err, src.Close())
				}
				_, ierr := f.e.Inspect(f.t.Context(), f.item, f.v, false)
				_, uerr := f.e.Usage(f.t.Context(), f.item, f.v)
				_, derr := f.e.Devices(f.t.Context(), f.item, f.v)
				if err := errors.Join(err, ierr, uerr, derr); err != nil {
					f.t.Error(err)
					return
				}
				looks.Add(1)
			}
		})
	}
	all.Wait()
	return looks.Load()
}

// A look mounts nothing: not what a killed daemon has attached and not mounted, and
// not what is held for a copy.
func TestLooksMountNothing(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			f := one(t, hosttest.Ext4(t, 1024, ""), engine.Form{FSType: kind}, 320*mib)
			before := f.sum()
			f.second(func(string) {
				f.restart()
				if n := f.looks(time.Second); n < 10 {
					t.Errorf("only %d looks", n)
				}
				if f.sum() != before {
					t.Error("a look has changed the content")
				}
			})
			held, err := f.e.Hold(t.Context(), []engine.Source{{Item: f.item, Volume: f.v}})
			must(t, err)
			f.looks(time.Second)
			if f.sum() != before {
				t.Error("a look has changed the content of a held volume")
			}
			is(t, f.attach(engine.Use{}), engine.ErrBusy)
			must(t, held.Release())
		})
	}
}

// What the kernel has shut down or made read-only is found by a look, takes no new
// pod, and is not changed by it. Nor is a snapshot of it an internal error.
func TestConditions(t *testing.T) {
	for _, c := range []struct{ kind, how, reason string }{
		{"xfs", "xfs_io -x -c shutdown", engine.FilesystemDead},
		{"xfs", "mount -o remount,ro", engine.FilesystemReadOnly},
		{"ext4", "mount -o remount,ro", engine.FilesystemReadOnly},
		{"btrfs", "mount -o remount,ro", engine.FilesystemReadOnly},
	} {
		t.Run(c.kind+" "+c.reason, func(t *testing.T) {
			t.Parallel()
			f := one(t, hosttest.XFS(t, 1024, ""), engine.Form{FSType: c.kind}, 320*mib)
			target := f.publish()
			must(t, os.WriteFile(target+"/file", []byte("text"), 0o600))
			sh(t, "sync -f "+target)
			f.inspect()
			sh(t, c.how+" "+target)
			for range 2 {
				f.inspect(c.reason)
				f.looks(100 * time.Millisecond)
				is(t, f.attach(engine.Use{}), engine.ErrUnusable, "delete its pods")
				is(t, f.attach(engine.Use{ReadOnly: true}), engine.ErrUnusable)
				if err := os.WriteFile(target+"/more", nil, 0o600); err == nil {
					t.Error("a look has made it writable")
				}
				held, err := f.e.Hold(t.Context(), []engine.Source{{Item: f.item, Volume: f.v}})
				if c.reason == engine.FilesystemDead {
					is(t, err, engine.ErrUnusable)
				} else { // what cannot be written to is of one instant
					must(t, err)
					must(t, held.Release())
				}
				f.restart()
			}
			f.unmount(target)
			f.detach()
			isText(t, f.publish()+"/file", "text")
			f.inspect()
		})
	}
}

// A person who looks into a volume changes nothing, and no pod gets it meanwhile.
func TestUntouched(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			f := one(t, hosttest.Ext4(t, 1024, ""), engine.Form{FSType: kind}, 320*mib)
			target := f.publish()
			must(t, os.WriteFile(target+"/file", []byte("text"), 0o600))
			sh(t, "sync -f "+target)
			is(t, f.attach(engine.Use{ReadOnly: true, Untouched: true}), engine.ErrForeign, "unpublish")
			// A copy of what is mounted has a log to replay.
			snap := f.mkdir("copied")
			sh(t, "cp --sparse=always "+f.image+" "+filepath.Join(f.setup.Root.Name(), "copied", "image"))
			f.unmount(target)
			f.detach()
			f.item, f.image = snap, filepath.Join(f.setup.Root.Name(), "copied", "image")
			before := f.sum()
			f.v.Bytes += 64 * mib // one that is to grow does not grow for a look
			src, err := f.e.Attach(t.Context(), f.item, f.v, engine.Use{ReadOnly: true, Untouched: true})
			must(t, err)
			must(t, src.Close())
			is(t, f.attach(engine.Use{}), engine.ErrForeign, "looks into it")
			is(t, f.attach(engine.Use{ReadOnly: true}), engine.ErrForeign)
			f.detach()
			if f.sum() != before {
				t.Error("a look into it has changed it")
			}
		})
	}
}
