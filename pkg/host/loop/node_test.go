package loop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/hosttest"
)

// inEmptyDev runs f on a thread that sees a /dev with loop-control alone, and gives
// it the path by which other threads reach that /dev. The thread ends with it.
func inEmptyDev(t *testing.T, f func(dev string)) {
	t.Helper()
	hosttest.Root(t)
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			err = unix.Mount("tmpfs", "/dev", "tmpfs", 0, "")
		}
		if err == nil {
			err = unix.Mknod(controlPath, unix.S_IFCHR|0o600, int(unix.Mkdev(10, 237)))
		}
		if err == nil {
			f(fmt.Sprintf("/proc/self/task/%d/root/dev", unix.Gettid()))
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func makeNodes(dev string, shift int) error {
	var err error
	for n := range 256 {
		at := fmt.Sprintf("%s/%s", dev, name(n))
		_ = os.Remove(at)
		err = errors.Join(err, unix.Mknod(at, unix.S_IFBLK|0o600, int(unix.Mkdev(7, uint32(n+shift)))))
	}
	return err
}

// A container may have a /dev of its own, and udev may be slow.
func TestDevOfItsOwn(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/image")
	if err == nil {
		err = f.Truncate(1 << 20)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	inEmptyDev(t, func(dev string) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := Attach(ctx, f, Options{}); !errors.Is(err, ErrNoNode) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("no node: %v", err)
		}
		made := make(chan error, 1)
		time.AfterFunc(100*time.Millisecond, func() { made <- makeNodes(dev, 0) })
		d, err := Attach(t.Context(), f, Options{})
		if err := errors.Join(err, <-made); err != nil {
			t.Errorf("late nodes: %v", err)
			return
		}
		if err := os.Remove(d.Path()); err != nil {
			t.Error(err)
		}
		if _, err := Find(f); !errors.Is(err, ErrNoNode) {
			t.Errorf("find without the node: %v", err)
		}
		if _, err := Detach(f, d); !errors.Is(err, ErrNoNode) {
			t.Errorf("detach without the node: %v", err)
		}
		if err := makeNodes(dev, 0); err != nil {
			t.Error(err)
		}
		if lingering, err := Detach(f, d); err != nil || lingering {
			t.Errorf("detach: %t, %v", lingering, err)
		}
		if err := makeNodes(dev, 1); err != nil {
			t.Error(err)
		}
		if _, err := Attach(t.Context(), f, Options{}); !errors.Is(err, ErrNoNode) {
			t.Errorf("nodes of other devices: %v", err)
		}
		if err := os.Remove(controlPath); err != nil {
			t.Error(err)
		}
		if _, err := Attach(t.Context(), f, Options{}); !errors.Is(err, ErrNoLoop) {
			t.Errorf("no control device: %v", err)
		}
	})
	if found, err := Find(f); err != nil || len(found) > 0 {
		t.Errorf("attached at the end: %v, %v", found, err)
	}
}
