package filesystem

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/hosttest"
	"github.com/hostvol/hostvol/pkg/host/loop"
)

func TestMain(m *testing.M) {
	// Parallel tests mostly wait for the disk.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

const mib = 1 << 20

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// image makes an empty file of a size.
func image(t *testing.T, dir string, bytes int64) *os.File {
	t.Helper()
	f, err := os.CreateTemp(dir, "image")
	must(t, err)
	t.Cleanup(func() { _ = f.Close() })
	must(t, f.Truncate(bytes))
	return f
}

func eachKind(t *testing.T, test func(t *testing.T, kind string)) {
	for _, kind := range Kinds() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			test(t, kind)
		})
	}
}

func TestFormatWantsABlankFile(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		dir := t.TempDir()
		bytes := MinBytes(kind)
		for name, write := range map[string]struct {
			at    int64
			bytes []byte
		}{
			"text at the start":    {0, []byte("text")},
			"text in the middle":   {bytes / 2, []byte("text")},
			"the last byte":        {bytes - 1, []byte("x")},
			"zeros at the start":   {0, make([]byte, 4096)},
			"a zero in the middle": {bytes/2 + 3, make([]byte, 1)},
			"zeros at the end":     {bytes - 4096, make([]byte, 4096)},
		} {
			f := image(t, dir, bytes)
			_, err := f.WriteAt(write.bytes, write.at)
			must(t, err)
			if err := Format(t.Context(), f, kind, nil); !errors.Is(err, ErrNotBlank) {
				t.Errorf("%s: %v", name, err)
			}
			got := make([]byte, len(write.bytes))
			_, err = f.ReadAt(got, write.at)
			must(t, err)
			if string(got) != string(write.bytes) {
				t.Errorf("%s: %q became %q", name, write.bytes, got)
			}
		}
		f := image(t, dir, bytes)
		must(t, Format(t.Context(), f, kind, nil))
		if err := Format(t.Context(), f, kind, nil); !errors.Is(err, ErrNotBlank) {
			t.Errorf("a second time: %v", err)
		}
		must(t, Check(t.Context(), f.Name(), kind))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := Format(ctx, image(t, dir, bytes), kind, nil); err == nil {
			t.Error("made after the end of its context")
		}
		if err := Format(t.Context(), image(t, dir, bytes), kind, []string{"--no-such-option"}); err == nil {
			t.Error("made with an option that is none")
		}
	})
	if err := Format(t.Context(), image(t, t.TempDir(), mib), "vfat", nil); err == nil {
		t.Error("another kind was made")
	}
}

// A device does not tell where its data is, so it is never formatted.
func TestADeviceIsNeverBlank(t *testing.T) {
	f, err := os.OpenFile(hosttest.Loop(t, "", 32), os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	if err := Format(t.Context(), f, Ext4, nil); !errors.Is(err, ErrNotBlank) {
		t.Errorf("%v", err)
	}
}

// attached makes a device of an image.
func attached(t *testing.T, f *os.File) loop.Device {
	t.Helper()
	d, err := loop.Attach(t.Context(), f, loop.Options{})
	must(t, err)
	t.Cleanup(func() {
		if lingering, err := loop.Detach(f, d); lingering || err != nil {
			t.Errorf("detach: %t %v", lingering, err)
		}
	})
	return d
}

// mounted mounts it, and opens its root.
func mounted(t *testing.T, device, kind, options string) *os.File {
	t.Helper()
	at := filepath.Join(t.TempDir(), "at")
	hosttest.Mount(t, device, at, kind, 0, options)
	dir, err := os.Open(at)
	must(t, err)
	t.Cleanup(func() { _ = dir.Close() })
	return dir
}

// Filesystems grow to sizes that no unit divides, while mounted.
func TestGrow(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		bytes := MinBytes(kind) + 12*mib + 512
		f := image(t, t.TempDir(), bytes)
		must(t, Format(t.Context(), f, kind, nil))
		is, err := Measure(f.Name(), kind)
		must(t, err)
		if is.BlockBytes < 512 || is.Bytes > bytes || bytes-is.Bytes >= mib {
			t.Errorf("%+v of %d bytes", is, bytes)
		}
		d := attached(t, f)
		t.Run("while it is mounted", func(t *testing.T) { bytes = growMounted(t, f, d, kind, bytes) })
		if is, err = Measure(f.Name(), kind); err != nil || !is.full(bytes) || is.Bytes > bytes {
			t.Errorf("%+v of %d bytes: %v", is, bytes, err)
		}
	})
}

func growMounted(t *testing.T, f *os.File, d loop.Device, kind string, bytes int64) int64 {
	dir := mounted(t, d.Path(), kind, "")
	must(t, os.WriteFile(filepath.Join(dir.Name(), "file"), []byte("text"), 0o600))
	for _, more := range []int64{0, 512, 64*mib + 512, 3*mib + 1024, 257*mib + 513*512} {
		bytes += more
		must(t, f.Truncate(bytes))
		must(t, loop.Resize(f, d))
		for range 2 {
			err := Grow(int(dir.Fd()), d.Path(), kind, bytes)
			if kind == Ext4 && errors.Is(err, ErrOffline) {
				t.Logf("this process may not grow an ext4 that is mounted: %v", err)
				return is(t, f, kind)
			}
			must(t, err)
		}
		must(t, unix.Syncfs(int(dir.Fd())))
		var st unix.Statfs_t
		must(t, unix.Fstatfs(int(dir.Fd()), &st))
		if has := int64(st.Blocks) * st.Bsize; has > bytes || has < bytes*7/10 {
			t.Errorf("it shows %d bytes of %d", has, bytes)
		}
	}
	if b, err := os.ReadFile(filepath.Join(dir.Name(), "file")); err != nil || string(b) != "text" {
		t.Errorf("%q %v", b, err)
	}
	return bytes
}

func is(t *testing.T, f *os.File, kind string) int64 {
	t.Helper()
	e, err := Measure(f.Name(), kind)
	must(t, err)
	return e.Bytes
}

func TestGrowOffline(t *testing.T) {
	bytes := int64(20*mib + 512)
	f := image(t, t.TempDir(), bytes)
	must(t, Format(t.Context(), f, Ext4, nil))
	d := attached(t, f)
	for _, more := range []int64{0, 512, 8*mib + 512, 300*mib + 1536} {
		bytes += more
		must(t, f.Truncate(bytes))
		must(t, loop.Resize(f, d))
		for range 2 {
			must(t, GrowOffline(t.Context(), d.Path(), bytes))
		}
		if is, err := Measure(d.Path(), Ext4); err != nil || !is.full(bytes) || is.Bytes > bytes {
			t.Errorf("%+v of %d bytes: %v", is, bytes, err)
		}
		hosttest.Run(t, "e2fsck", "-f", "-n", d.Path())
	}
	dir := mounted(t, d.Path(), Ext4, "")
	must(t, f.Truncate(2*bytes))
	must(t, loop.Resize(f, d))
	if err := GrowOffline(t.Context(), d.Path(), 2*bytes); err == nil || errors.Is(err, ErrDamaged) {
		t.Errorf("one that is mounted: %v", err)
	}
	_ = dir
}

func TestMeasureOfNothing(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		f := image(t, t.TempDir(), MinBytes(kind))
		if _, err := Measure(f.Name(), kind); !errors.Is(err, ErrUnknown) {
			t.Errorf("%v", err)
		}
		if err := Check(t.Context(), f.Name(), kind); !errors.Is(err, ErrUnknown) {
			t.Errorf("%v", err)
		}
		if b, err := unix.Seek(int(f.Fd()), 0, unix.SEEK_DATA); !errors.Is(err, unix.ENXIO) {
			t.Errorf("it was written to at %d: %v", b, err)
		}
	})
}

// What is damaged is never formatted, and of another kind neither.
func TestCheck(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		f := image(t, t.TempDir(), MinBytes(kind))
		must(t, Format(t.Context(), f, kind, nil))
		for range 2 {
			must(t, Check(t.Context(), f.Name(), kind))
		}
		for _, other := range Kinds() {
			if err := Check(t.Context(), f.Name(), other); other != kind && !errors.Is(err, ErrUnknown) {
				t.Errorf("a %s as %s: %v", kind, other, err)
			}
		}
		at := map[string]int64{Ext4: 1024, XFS: 0, Btrfs: 64 << 10}[kind]
		_, err := f.WriteAt(make([]byte, 1024), at)
		must(t, err)
		if err := Check(t.Context(), f.Name(), kind); !errors.Is(err, ErrUnknown) {
			t.Errorf("without a superblock: %v", err)
		}
		got := make([]byte, 1024)
		_, err = f.ReadAt(got, at)
		must(t, err)
		if string(got) != string(make([]byte, 1024)) {
			t.Error("it was written to")
		}
	})
}

func TestCheckFindsDamage(t *testing.T) {
	f := image(t, t.TempDir(), 32*mib)
	must(t, Format(t.Context(), f, Ext4, nil))
	// The root directory loses its inode, which -a does not repair.
	hosttest.Run(t, "debugfs", "-w", "-R", "clri <2>", f.Name())
	hosttest.Run(t, "debugfs", "-w", "-R", "ssv state 2", f.Name())
	if err := Check(t.Context(), f.Name(), Ext4); !errors.Is(err, ErrDamaged) {
		t.Errorf("%v", err)
	}
}

// A btrfs and its copy, mounted at the same time, are two, whatever the source did
// while it was copied.
func TestNewIdentity(t *testing.T) {
	for name, quiet := range map[string]string{"unmounted": "", "frozen": "fsfreeze"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := hosttest.XFS(t, 2048, "")
			source := image(t, dir, MinBytes(Btrfs))
			must(t, Format(t.Context(), source, Btrfs, nil))
			var at *os.File
			if quiet != "" {
				at = mounted(t, attached(t, source).Path(), Btrfs, "")
				must(t, os.WriteFile(filepath.Join(at.Name(), "file"), []byte("source"), 0o600))
				f, err := os.OpenFile(filepath.Join(at.Name(), "file"), os.O_RDWR, 0)
				must(t, err)
				must(t, errors.Join(f.Sync(), f.Close())) // into the log of the btrfs
				hosttest.Run(t, quiet, "-f", at.Name())
			}
			copied := image(t, dir, 0)
			err := unix.IoctlFileClone(int(copied.Fd()), int(source.Fd()))
			if quiet != "" {
				hosttest.Run(t, quiet, "-u", at.Name())
			}
			must(t, err)
			must(t, NewIdentity(t.Context(), copied.Name(), Btrfs))
			if at == nil {
				at = mounted(t, attached(t, source).Path(), Btrfs, "")
			}
			other := mounted(t, attached(t, copied).Path(), Btrfs, "")
			for _, dir := range []*os.File{at, other} {
				must(t, os.WriteFile(filepath.Join(dir.Name(), "own"), []byte(dir.Name()), 0o600))
				must(t, unix.Syncfs(int(dir.Fd())))
			}
			for _, dir := range []*os.File{at, other} {
				if b, err := os.ReadFile(filepath.Join(dir.Name(), "own")); err != nil || string(b) != dir.Name() {
					t.Errorf("%s holds %q: %v", dir.Name(), b, err)
				}
			}
			if b, err := os.ReadFile(filepath.Join(other.Name(), "file")); quiet != "" && (err != nil || string(b) != "source") {
				t.Errorf("the copy holds %q: %v", b, err)
			}
		})
	}
}

// A btrfs that was copied as a power cut would leave it has a log to be replayed,
// and so has its copy's copy.
func TestNewIdentityOfALog(t *testing.T) {
	dir := hosttest.XFS(t, 1024, "")
	source := image(t, dir, MinBytes(Btrfs))
	must(t, Format(t.Context(), source, Btrfs, nil))
	at := mounted(t, attached(t, source).Path(), Btrfs, "commit=300")
	f, err := os.Create(filepath.Join(at.Name(), "file"))
	must(t, err)
	_, err = f.WriteString("source")
	must(t, errors.Join(err, f.Sync(), f.Close()))
	for range 2 {
		copied := image(t, dir, 0)
		must(t, unix.IoctlFileClone(int(copied.Fd()), int(source.Fd())))
		must(t, NewIdentity(t.Context(), copied.Name(), Btrfs))
		source = image(t, dir, 0)
		must(t, unix.IoctlFileClone(int(source.Fd()), int(copied.Fd())))
		hosttest.Run(t, "btrfs", "check", copied.Name())
		other := mounted(t, attached(t, copied).Path(), Btrfs, "")
		if b, err := os.ReadFile(filepath.Join(other.Name(), "file")); err != nil || string(b) != "source" {
			t.Errorf("the copy holds %q: %v", b, err)
		}
	}
}

// Other checksums than the usual take another way.
func TestNewIdentityOfAnotherChecksum(t *testing.T) {
	for _, sum := range []string{"xxhash", "sha256"} {
		dir := hosttest.XFS(t, 1024, "")
		source := image(t, dir, MinBytes(Btrfs))
		must(t, Format(t.Context(), source, Btrfs, []string{"--csum", sum}))
		at := mounted(t, attached(t, source).Path(), Btrfs, "commit=300")
		f, err := os.Create(filepath.Join(at.Name(), "file"))
		must(t, err)
		_, err = f.WriteString("source")
		must(t, errors.Join(err, f.Sync(), f.Close()))
		copied := image(t, dir, 0)
		must(t, unix.IoctlFileClone(int(copied.Fd()), int(source.Fd())))
		if err := NewIdentity(t.Context(), copied.Name(), Btrfs); !errors.Is(err, ErrDamaged) {
			t.Errorf("with a log: %v", err)
		}
		must(t, unix.Syncfs(int(at.Fd())))
		hosttest.Run(t, "fsfreeze", "-f", at.Name())
		err = unix.IoctlFileClone(int(copied.Fd()), int(source.Fd()))
		hosttest.Run(t, "fsfreeze", "-u", at.Name())
		must(t, err)
		must(t, NewIdentity(t.Context(), copied.Name(), Btrfs))
		other := mounted(t, attached(t, copied).Path(), Btrfs, "")
		if b, err := os.ReadFile(filepath.Join(other.Name(), "file")); err != nil || string(b) != "source" {
			t.Errorf("the copy holds %q: %v", b, err)
		}
	}
	f := image(t, t.TempDir(), MinBytes(Btrfs))
	if err := NewIdentity(t.Context(), f.Name(), Btrfs); !errors.Is(err, ErrUnknown) {
		t.Errorf("of nothing: %v", err)
	}
	must(t, NewIdentity(t.Context(), "/no/such/file", Ext4))
}
