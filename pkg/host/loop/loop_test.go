package loop_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/btrfs"
	"github.com/hostvol/hostvol/pkg/host/hosttest"
	"github.com/hostvol/hostvol/pkg/host/loop"
)

const mib = 1 << 20

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// filesystems are those that images lie on; each gets an empty directory.
var filesystems = map[string]func(t testing.TB) string{
	"ext4": func(t testing.TB) string { return hosttest.Ext4(t, 256, "") },
	"xfs":  func(t testing.TB) string { return hosttest.XFS(t, 300, "") },
	"btrfs subvolume": func(t testing.TB) string {
		dir := hosttest.BtrfsNoQuota(t, 256)
		must(t, btrfs.CreateSubvolume(hosttest.Open(t, dir), "sub"))
		return dir + "/sub"
	},
}

func each(t *testing.T, f func(t *testing.T, dir string)) {
	for kind, make := range filesystems {
		t.Run(kind, func(t *testing.T) { f(t, make(t)) })
	}
}

// image makes a file of that size. What is attached to it is detached when the
// test ends, and must have been by then.
func image(t testing.TB, dir string, bytes int64) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, strings.ReplaceAll(t.Name(), "/", "-")+"-"+rest(t, dir)))
	must(t, err)
	t.Cleanup(func() {
		left, err := loop.Find(f)
		if err != nil || len(left) > 0 {
			t.Errorf("attached at the end: %v, %v", left, err)
		}
		for _, d := range left {
			detach(t, f, d)
		}
		_ = f.Close()
	})
	must(t, f.Truncate(bytes))
	return f
}

// rest numbers the files of a directory.
func rest(t testing.TB, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	return string(rune('a' + len(entries)))
}

func attach(t testing.TB, f *os.File, o loop.Options) loop.Device {
	t.Helper()
	d, err := loop.Attach(t.Context(), f, o)
	must(t, err)
	return d
}

// detach waits for udev, which looks at what was attached or written, longer than Detach where the machine is slow.
func detach(t testing.TB, f *os.File, d loop.Device) {
	t.Helper()
	lingering, err := loop.Detach(f, d)
	for end := time.Now().Add(30 * time.Second); err == nil && lingering && time.Now().Before(end); {
		lingering, err = loop.Detach(f, d)
	}
	if err != nil || lingering {
		t.Errorf("detach %v: lingering %t, %v", d, lingering, err)
	}
}

func open(t testing.TB, f *os.File, d loop.Device, flag int) *os.File {
	t.Helper()
	device, err := d.Open(f, flag)
	must(t, err)
	return device
}

func allocated(t testing.TB, f *os.File) int64 {
	t.Helper()
	must(t, f.Sync())
	must(t, unix.Syncfs(int(f.Fd())))
	var st unix.Stat_t
	must(t, unix.Fstat(int(f.Fd()), &st))
	return st.Blocks * 512
}

func TestLife(t *testing.T) {
	each(t, func(t *testing.T, dir string) {
		f := image(t, dir, 8*mib+512+511)
		if found, err := loop.Find(f); err != nil || len(found) != 0 {
			t.Fatalf("before: %v, %v", found, err)
		}
		d := attach(t, f, loop.Options{})
		if d.Size != 8*mib+512 || d.ReadOnly || d.Autoclear {
			t.Errorf("attached %+v", d)
		}
		t.Logf("direct I/O: %t", d.DirectIO)
		found, err := loop.Find(f)
		if err != nil || len(found) != 1 || found[0] != d {
			t.Errorf("found %+v, %v, want %+v", found, err, d)
		}
		var st unix.Stat_t
		must(t, unix.Fstat(int(f.Fd()), &st))
		all, err := loop.Backed()
		must(t, err)
		want := loop.Backing{Number: d.Number, Dev: st.Dev, Ino: st.Ino, File: f.Name(), Ours: true}
		if !containsBacking(all, want) {
			t.Errorf("backed: %+v lacks %+v", all, want)
		}
		content := bytes.Repeat([]byte("hostvol "), 512)
		device := open(t, f, d, os.O_RDWR)
		_, err = device.WriteAt(content, 4*mib)
		must(t, err)
		must(t, device.Sync())
		must(t, device.Close())
		got := make([]byte, len(content))
		if _, err := f.ReadAt(got, 4*mib); err != nil || !bytes.Equal(got, content) {
			t.Errorf("read from the image: %v", err)
		}
		detach(t, f, d)
		detach(t, f, d)
		if _, err := d.Open(f, os.O_RDONLY); !errors.Is(err, loop.ErrNotBacked) {
			t.Errorf("open after detach: %v", err)
		}
		if err := loop.Resize(f, d); !errors.Is(err, loop.ErrNotBacked) {
			t.Errorf("resize after detach: %v", err)
		}
	})
}

func containsBacking(all []loop.Backing, want loop.Backing) bool {
	for _, b := range all {
		if b == want {
			return true
		}
	}
	return false
}

func TestResize(t *testing.T) {
	each(t, func(t *testing.T, dir string) {
		f := image(t, dir, 4*mib)
		d := attach(t, f, loop.Options{})
		device := open(t, f, d, os.O_RDWR) // online
		defer device.Close()
		for _, size := range []int64{4*mib + 512, 64*mib + 1000, 64*mib + 1024} {
			must(t, f.Truncate(size))
			must(t, loop.Resize(f, d))
			if got, err := device.Seek(0, io.SeekEnd); err != nil || got != size/512*512 {
				t.Errorf("%d bytes: device has %d, %v", size, got, err)
			}
			if found, err := loop.Find(f); err != nil || len(found) != 1 || found[0].Size != size/512*512 {
				t.Errorf("%d bytes: found %+v, %v", size, found, err)
			}
		}
		must(t, device.Close())
		detach(t, f, d)
	})
}

func TestReadOnly(t *testing.T) {
	each(t, func(t *testing.T, dir string) {
		f := image(t, dir, mib)
		d := attach(t, f, loop.Options{ReadOnly: true})
		if !d.ReadOnly {
			t.Errorf("attached %+v", d)
		}
		device := open(t, f, d, os.O_RDONLY)
		if ro, err := unix.IoctlGetInt(int(device.Fd()), unix.BLKROGET); err != nil || ro != 1 {
			t.Errorf("BLKROGET: %d, %v", ro, err)
		}
		must(t, unix.IoctlSetPointerInt(int(device.Fd()), unix.BLKROSET, 0)) // root may ask
		must(t, device.Close())
		if device, err := d.Open(f, os.O_RDWR|unix.O_SYNC); err == nil {
			if _, err := device.Write(make([]byte, 4096)); err == nil {
				t.Error("written to a read-only device")
			}
			_ = device.Close()
		}
		if n := allocated(t, f); n != 0 {
			t.Errorf("%d bytes of the image are allocated", n)
		}
		detach(t, f, d)
		reading, err := os.Open(f.Name())
		must(t, err)
		defer reading.Close()
		if _, err := loop.Attach(t.Context(), reading, loop.Options{}); err == nil {
			t.Error("a writable device of an image open for reading")
		}
		detach(t, f, attach(t, reading, loop.Options{ReadOnly: true}))
		again := attach(t, f, loop.Options{})
		device = open(t, f, again, os.O_RDWR|unix.O_SYNC)
		if _, err := device.Write(make([]byte, 4096)); err != nil {
			t.Errorf("write to a writable device: %v", err)
		}
		must(t, device.Close())
		detach(t, f, again)
	})
}

// Sixteen callers at a time are all told the same free device by the kernel.
func TestRace(t *testing.T) {
	dir := hosttest.Ext4(t, 256, "")
	var images [16]*os.File
	var devices [16]loop.Device
	for i := range images {
		images[i] = image(t, dir, int64(i+1)*mib)
	}
	for range 3 {
		var all sync.WaitGroup
		for i := range images {
			all.Go(func() {
				var err error
				if devices[i], err = loop.Attach(t.Context(), images[i], loop.Options{}); err != nil {
					t.Errorf("%d: %v", i, err)
				}
			})
		}
		all.Wait()
		for i, f := range images {
			if found, err := loop.Find(f); err != nil || len(found) != 1 || found[0] != devices[i] || found[0].Size != int64(i+1)*mib {
				t.Errorf("%d: found %+v, %v, want %+v", i, found, err, devices[i])
			}
		}
		for i, f := range images {
			all.Go(func() { detach(t, f, devices[i]) })
		}
		all.Wait()
	}
}
