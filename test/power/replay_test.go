//go:build power

package power

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/test/power/logwrites"
)

// image is a disk in a file.
type image struct{ *os.File }

// Zero implements logwrites.Disk.
func (i image) Zero(offset, size int64) error {
	return unix.Fallocate(int(i.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, offset, size)
}

// replay builds the disk at one cut after the other.
type replay struct {
	*history
	filesystem
	dir  string
	disk image // what was on the medium before done
	done int
}

func newReplay(t *testing.T, h *history, fs filesystem, dir string) *replay {
	t.Helper()
	path := filepath.Join(dir, "disk")
	must(t, sparse(path, diskMiB<<20))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	t.Cleanup(func() { must(t, f.Close()) })
	return &replay{history: h, filesystem: fs, dir: dir, disk: image{f}}
}

// at mounts the disk at a cut, which is not before the last one, and has f look at it. What f finds are faults, and
// so is a disk that cannot be mounted.
func (r *replay) at(t *testing.T, c logwrites.Cut, random *rand.Rand, f func(w *world) []string) []string {
	t.Helper()
	must(t, r.Replay(r.disk, r.done, c.At))
	r.done = c.At
	path, mount := filepath.Join(r.dir, "cut"), filepath.Join(r.dir, "after")
	must(t, os.MkdirAll(mount, 0o755))
	must(t, r.copyTo(path, c, random))
	defer func() { must(t, os.Remove(path)) }()
	forgetBtrfs(t, r.filesystem)
	device := run(t, "losetup", "--find", "--show", path)
	device = device[:len(device)-1]
	defer run(t, "losetup", "--detach", device)
	if err := unix.Mount(device, mount, r.kind, 0, r.options); err != nil {
		return []string{fmt.Sprintf("the filesystem does not mount: %v", err)}
	}
	defer func() { must(t, unmount(mount)) }()
	dir, err := os.MkdirTemp(r.dir, "")
	must(t, err)
	defer func() { must(t, os.RemoveAll(dir)) }()
	return lookAt(t.Context(), r.filesystem, mount, dir, f)
}

// copyTo makes the disk at a cut from what is durable by then.
func (r *replay) copyTo(path string, c logwrites.Cut, random *rand.Rand) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := unix.IoctlFileClone(int(f.Fd()), int(r.disk.Fd())); err != nil {
		return errors.Join(fmt.Errorf("clone the disk (TMPDIR must be on XFS): %w", err), f.Close())
	}
	return errors.Join(r.Tear(image{f}, c, random), f.Close())
}

// lookAt starts the daemon on what the cut has left.
func lookAt(ctx context.Context, fs filesystem, mount, dir string, f func(w *world) []string) []string {
	w, err := serveOn(ctx, fs, mount, dir)
	if err != nil {
		return []string{fmt.Sprintf("the daemon does not start: %v", err)}
	}
	faults := f(w)
	if err := w.daemon.Stop(); err != nil {
		faults = append(faults, err.Error())
	}
	if len(faults) > 0 {
		log := w.daemon.Log()
		faults = append(faults, "the daemon's log: "+log[max(0, len(log)-3000):])
	}
	return faults
}
