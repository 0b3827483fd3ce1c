package loop_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/hosttest"
	"github.com/hostvol/hostvol/pkg/host/loop"
)

// zap are the ways to have a device give blocks back.
var zap = map[string][]string{
	"discard":    {"blkdiscard"},
	"zero":       {"blkdiscard", "--zeroout"},
	"punch hole": {"fallocate", "--punch-hole", "--offset", "0", "--length", "8388608"},
}

func TestDiscard(t *testing.T) {
	each(t, func(t *testing.T, dir string) {
		for how, argv := range zap {
			for _, keep := range []bool{true, false, true} {
				f := image(t, dir, 8*mib)
				must(t, unix.Fallocate(int(f.Fd()), 0, 0, 8*mib))
				before := allocated(t, f)
				d := attach(t, f, loop.Options{NoDiscard: keep})
				must(t, loop.Resize(f, d)) // the limit stays
				cmd := exec.Command(argv[0], append(argv[1:], d.Path())...)
				out, err := cmd.CombinedOutput()
				after := allocated(t, f)
				t.Logf("%s, kept %t: %v, %d bytes of %d left: %s", how, keep, err, after, before, out)
				if keep && after < before {
					t.Errorf("%s: NoDiscard, and %d bytes of %d are left", how, after, before)
				}
				if !keep && how == "discard" && (err != nil || after > before/8) {
					t.Errorf("%s: %d bytes of %d are left, %v", how, after, before, err)
				}
				detach(t, f, d)
			}
		}
	})
}

// The kernel keeps the limit of a number; whoever gets it next must not inherit it.
func TestDiscardAfterDetach(t *testing.T) {
	dir := hosttest.Ext4(t, 256, "")
	f := image(t, dir, mib)
	var d loop.Device
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		d = attach(t, f, loop.Options{NoDiscard: true})
		detach(t, f, d)
		out, err := exec.Command("losetup", d.Path(), f.Name()).CombinedOutput()
		if err == nil {
			break
		}
		if !strings.Contains(string(out), "busy") || time.Now().After(end) { // another of the machine has the number now
			t.Fatalf("%v: %s", err, out)
		}
	}
	b, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(d.Path()), "queue/discard_max_bytes"))
	if err != nil || string(b) == "0\n" {
		t.Errorf("limit of the next user: %q, %v", b, err)
	}
	detach(t, f, d)
}

// A number that has another image now is neither opened, resized nor detached.
func TestStale(t *testing.T) {
	each(t, func(t *testing.T, dir string) {
		first, second := image(t, dir, mib), image(t, dir, 2*mib)
		var stale, now loop.Device
		for range 50 { // others may take the number
			stale = attach(t, first, loop.Options{})
			detach(t, first, stale)
			now = attach(t, second, loop.Options{})
			if now.Number == stale.Number {
				break
			}
			detach(t, second, now)
		}
		if now.Number != stale.Number {
			t.Fatal("the number was never given again")
		}
		if _, err := stale.Open(first, os.O_RDONLY); !errors.Is(err, loop.ErrNotBacked) {
			t.Errorf("open: %v", err)
		}
		must(t, second.Truncate(3*mib))
		if err := loop.Resize(first, stale); !errors.Is(err, loop.ErrNotBacked) {
			t.Errorf("resize: %v", err)
		}
		detach(t, first, stale) // no error, no effect
		if found, err := loop.Find(second); err != nil || len(found) != 1 || found[0] != now {
			t.Errorf("found %+v, %v, want %+v", found, err, now)
		}
		detach(t, second, now)
	})
}

func TestLingering(t *testing.T) {
	dir := hosttest.Ext4(t, 256, "")
	f := image(t, dir, 16*mib)
	d := attach(t, f, loop.Options{NoDiscard: true})
	hosttest.Run(t, "mkfs.ext4", "-q", "-F", d.Path())
	t.Run("mounted", func(t *testing.T) {
		hosttest.Mount(t, d.Path(), t.TempDir()+"/mnt", "ext4", 0, "")
		for range 2 {
			if lingering, err := loop.Detach(f, d); err != nil || !lingering {
				t.Errorf("detach: lingering %t, %v", lingering, err)
			}
		}
		if found, err := loop.Find(f); err != nil || len(found) != 1 || !found[0].Autoclear {
			t.Errorf("found %+v, %v", found, err)
		}
		if out, err := exec.Command("blkdiscard", "--force", d.Path()).CombinedOutput(); err == nil {
			t.Errorf("discard is on while it lingers: %s", out)
		}
	})
	found, err := loop.Find(f)
	for end := time.Now().Add(30 * time.Second); err == nil && len(found) != 0 && time.Now().Before(end); { // udev looks
		found, err = loop.Find(f)
	}
	if err != nil || len(found) != 0 {
		t.Errorf("after unmount: %+v, %v", found, err)
	}
	detach(t, f, d)

	d = attach(t, f, loop.Options{})
	user := open(t, f, d, os.O_RDONLY)
	if lingering, err := loop.Detach(f, d); err != nil || !lingering {
		t.Errorf("detach of an open device: lingering %t, %v", lingering, err)
	}
	must(t, user.Close())
	detach(t, f, d)
}

func TestDeletedImage(t *testing.T) {
	dir := hosttest.Ext4(t, 256, "")
	f := image(t, dir, mib)
	d := attach(t, f, loop.Options{})
	must(t, os.Remove(f.Name()))
	if found, err := loop.Find(f); err != nil || len(found) != 1 || found[0] != d {
		t.Errorf("found %+v, %v", found, err)
	}
	all, err := loop.Backed()
	must(t, err)
	for _, b := range all {
		if b.Number == d.Number && b.File != f.Name()+" (deleted)" {
			t.Errorf("backed by %q", b.File)
		}
	}
	detach(t, f, d)
}

func TestAttachRefuses(t *testing.T) {
	dir := t.TempDir()
	f := image(t, dir, mib)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if d, err := loop.Attach(ended, f, loop.Options{}); err == nil {
		detach(t, f, d) // there was no need to wait
	} else if !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: %v", err)
	}
	folder, err := os.Open(dir)
	must(t, err)
	defer folder.Close()
	if _, err := loop.Attach(t.Context(), folder, loop.Options{ReadOnly: true}); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("attach a directory: %v", err)
	}
	if _, err := loop.Find(folder); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("find a directory: %v", err)
	}
}

// Sectors stay at 512 bytes, at the price of direct I/O.
func TestDiskOfLargeSectors(t *testing.T) {
	disk := image(t, t.TempDir(), 300*mib)
	path := strings.TrimSpace(hosttest.Run(t, "losetup", "--find", "--show", "--sector-size", "4096", disk.Name()))
	t.Cleanup(func() { hosttest.Run(t, "losetup", "--detach", path) })
	hosttest.Run(t, "mkfs.xfs", "-q", path)
	dir := t.TempDir() + "/mnt"
	hosttest.Mount(t, path, dir, "xfs", 0, "")
	f := image(t, dir, mib+512)
	d := attach(t, f, loop.Options{})
	if d.DirectIO || d.Size != mib+512 {
		t.Errorf("attached %+v", d)
	}
	device := open(t, f, d, os.O_RDWR)
	if bytes, err := unix.IoctlGetInt(int(device.Fd()), unix.BLKSSZGET); err != nil || bytes != 512 {
		t.Errorf("sectors of %d bytes, %v", bytes, err)
	}
	_, err := device.WriteAt(make([]byte, 512), mib)
	must(t, errors.Join(err, device.Sync(), device.Close()))
	detach(t, f, d)
}
