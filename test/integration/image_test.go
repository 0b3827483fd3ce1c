package integration

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	"github.com/hostvol/hostvol/pkg/host/loop"
)

// raw asks for a block device.
func raw(m csi.VolumeCapability_AccessMode_Mode) *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: m},
		AccessType: &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}},
	}
}

func manyRaw() *csi.VolumeCapability {
	return raw(csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER)
}

// formatted asks for a filesystem of the volume's own.
func formatted(kind string, flags ...string) *csi.VolumeCapability {
	c := many()
	c.GetMount().FsType, c.GetMount().MountFlags = kind, flags
	return c
}

// as makes a volume for a use.
func as(c *csi.VolumeCapability) func(*csi.CreateVolumeRequest) {
	return func(r *csi.CreateVolumeRequest) { r.VolumeCapabilities = []*csi.VolumeCapability{c} }
}

// usedAs publishes it for a use.
func usedAs(c *csi.VolumeCapability) func(*csi.NodePublishVolumeRequest) {
	return func(r *csi.NodePublishVolumeRequest) { r.VolumeCapability = c }
}

// image is where the image of a volume lies.
func (n *node) image(id string) string { return filepath.Join(n.pool, "volumes", id, "image") }

// devices are the loop devices that the image of a volume is attached to.
func (n *node) devices(id string) []loop.Device {
	n.t.Helper()
	f, err := os.Open(n.image(id))
	must(n.t, err)
	defer f.Close()
	found, err := loop.Find(f)
	must(n.t, err)
	return found
}

// attachedOn lists the loop devices whose files lie on the filesystem of a pool, whatever became of these.
func attachedOn(t *testing.T, pool string) []loop.Backing {
	t.Helper()
	var st, above unix.Stat_t
	must(t, unix.Stat(pool, &st))
	must(t, unix.Stat(filepath.Dir(pool), &above))
	if st.Dev == above.Dev { // no file system of its own, or not any more
		return nil
	}
	all, err := loop.Backed()
	must(t, err)
	return slices.DeleteFunc(all, func(b loop.Backing) bool { return b.Dev != st.Dev })
}

// detachOn takes off what a test has left published.
func detachOn(t *testing.T, pool string) {
	t.Helper()
	for _, b := range attachedOn(t, pool) {
		images, err := filepath.Glob(filepath.Join(pool, "*", "*", "image"))
		must(t, err)
		for _, path := range images {
			f, err := os.Open(path)
			must(t, err)
			if _, err := loop.Detach(f, loop.Device{Number: b.Number}); err != nil {
				t.Errorf("loop%d of %s: %v", b.Number, path, err)
			}
			f.Close()
		}
	}
	gone(t, pool)
}

// gone waits until no device is attached to anything on the filesystem of a pool.
func gone(t *testing.T, pool string) {
	t.Helper()
	eventually(t, waitPurge, func() string {
		if left := attachedOn(t, pool); len(left) > 0 {
			return fmt.Sprintf("devices are left: %v", left)
		}
		return ""
	})
}

// noneLeft checks that no device is attached to anything on the filesystem of a pool. One that detaches itself was
// taken off, and waits for whoever looks for devices, which opens each one of the machine for a moment; the driver
// attaches none that does.
func noneLeft(t *testing.T, pool string) {
	t.Helper()
	left := slices.DeleteFunc(attachedOn(t, pool), func(b loop.Backing) bool { return b.Autoclear })
	if len(left) > 0 {
		t.Errorf("devices are left: %v", left)
	}
}

// detached checks that the image of a volume is attached to nothing; see noneLeft.
func (n *node) detached(id, when string) {
	n.t.Helper()
	if d := slices.DeleteFunc(n.devices(id), func(d loop.Device) bool { return d.Autoclear }); len(d) > 0 {
		n.t.Errorf("%s: %s is attached: %v", when, id, d)
	}
}

func imageSize(fs string) int64 {
	if fs == "xfs" || fs == "btrfs" {
		return 320 * mib
	}
	return 128 * mib
}

func eachImage(t *testing.T, test func(t *testing.T, n *node, fs string)) {
	for _, pool := range []string{"ext4", "xfs", "btrfs"} {
		for _, fs := range []string{"ext4", "xfs", "btrfs"} {
			t.Run(fs+" on "+pool, func(t *testing.T) {
				t.Parallel()
				test(t, serveOn(t, pool), fs)
			})
		}
	}
}

// The life of a volume with a filesystem of its own, on every pool.
func TestAFilesystemOfItsOwn(t *testing.T) {
	eachImage(t, func(t *testing.T, n *node, fs string) {
		use := formatted(fs)
		image := with("engine", "image", "mode", "0750", "uid", "1000", "gid", "2000")
		n.volume("vol", image, as(use), bytes(imageSize(fs)))
		n.detached("vol", "after it was made")
		n.volume("vol", image, as(use), bytes(imageSize(fs))) // a repeat
		_, err := n.create("vol", with("engine", "image"), as(manyRaw()), bytes(imageSize(fs)))
		want(t, err, codes.AlreadyExists)
		target := n.mounted("vol", "pod", usedAs(use))
		must(t, n.publish("vol", target, usedAs(use)))
		var st unix.Stat_t
		must(t, unix.Stat(target, &st))
		if st.Mode&0o7777 != 0o750 || st.Uid != 1000 || st.Gid != 2000 {
			t.Errorf("%o %d %d", st.Mode, st.Uid, st.Gid)
		}
		var sfs unix.Statfs_t
		must(t, unix.Statfs(target, &sfs))
		if size := int64(sfs.Blocks) * sfs.Bsize; size > imageSize(fs) || size < imageSize(fs)*6/10 {
			t.Errorf("df shows %d bytes", size)
		}
		must(t, os.WriteFile(filepath.Join(target, "file"), []byte("text"), 0o600))
		written, err := write(t, filepath.Join(target, "big"), imageSize(fs))
		if err == nil || written >= imageSize(fs) {
			t.Errorf("%d bytes were written: %v", written, err)
		}
		must(t, os.Remove(filepath.Join(target, "big")))
		usage, err := n.stats("vol", target)
		must(t, err)
		if len(usage.GetUsage()) == 0 || usage.GetUsage()[0].GetTotal() != int64(sfs.Blocks)*sfs.Bsize {
			t.Errorf("%v", usage)
		}
		second := n.mounted("vol", "other", usedAs(use), readOnly)
		if err := os.WriteFile(filepath.Join(second, "no"), nil, 0o600); !isReadOnly(err) {
			t.Errorf("written to a read-only mount: %v", err)
		}
		if d := n.devices("vol"); len(d) != 1 {
			t.Errorf("%v", d)
		}
		want(t, n.remove("vol"), codes.FailedPrecondition)
		n.restart()
		must(t, n.publish("vol", target, usedAs(use)))
		n.unmounted("vol", second)
		n.unmounted("vol", target)
		n.detached("vol", "after its last use")
		must(t, n.publish("vol", target, usedAs(use)))
		if got, err := os.ReadFile(filepath.Join(target, "file")); err != nil || string(got) != "text" {
			t.Errorf("%q %v", got, err)
		}
		n.unmounted("vol", target)
		must(t, n.remove("vol"))
		noneLeft(t, n.pool)
	})
}

func isReadOnly(err error) bool { return err != nil && strings.Contains(err.Error(), "read-only") }

// A snapshot of a filesystem that is mounted and written is of one instant, and a volume of it has another size.
func TestSnapshotsOfImages(t *testing.T) {
	eachImage(t, func(t *testing.T, n *node, fs string) {
		use, image := formatted(fs), with("engine", "image")
		n.volume("vol", image, as(use), bytes(imageSize(fs)))
		target := n.mounted("vol", "pod", usedAs(use))
		must(t, os.WriteFile(filepath.Join(target, "file"), []byte("text"), 0o600)) // not synced
		n.snapshot("snap", "vol")
		must(t, os.WriteFile(filepath.Join(target, "file"), []byte("later"), 0o600))
		n.volume("clone", image, as(use), fromVolume("vol"), bytes(imageSize(fs)))
		n.volume("restored", image, as(use), fromSnapshot("snap"), bytes(2*imageSize(fs)))
		_, err := n.create("wrong", image, as(manyRaw()), fromSnapshot("snap"), bytes(2*imageSize(fs)))
		want(t, err, codes.InvalidArgument)
		for id, text := range map[string]string{"clone": "later", "restored": "text"} {
			at := n.mounted(id, id, usedAs(use))
			if got, err := os.ReadFile(filepath.Join(at, "file")); err != nil || string(got) != text {
				t.Errorf("%s: %q %v", id, got, err)
			}
			must(t, os.WriteFile(filepath.Join(at, "own"), []byte(id), 0o600))
		}
		var sfs unix.Statfs_t
		must(t, unix.Statfs(n.target("restored"), &sfs))
		if size := int64(sfs.Blocks) * sfs.Bsize; size < imageSize(fs)*11/10 {
			t.Errorf("the filesystem of the larger volume has %d bytes", size)
		}
		if _, err := os.Stat(filepath.Join(target, "own")); !os.IsNotExist(err) {
			t.Errorf("what was written to a copy is in its source: %v", err)
		}
		must(t, os.WriteFile(filepath.Join(target, "thawed"), []byte("text"), 0o600))
		for _, id := range []string{"vol", "clone", "restored"} {
			pod := map[string]string{"vol": "pod"}[id]
			if pod == "" {
				pod = id
			}
			n.unmounted(id, n.target(pod))
			must(t, n.remove(id))
		}
		must(t, n.removeSnapshot("snap"))
	})
}

// A raw block volume is as large as asked, to the sector, and read-only where that is asked.
func TestRawBlockVolumes(t *testing.T) {
	for _, pool := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(pool, func(t *testing.T) {
			t.Parallel()
			n := serveOn(t, pool)
			v, err := n.create("vol", as(manyRaw()), bytes(16*mib+1))
			must(t, err)
			if v.GetCapacityBytes() != 16*mib+512 {
				t.Errorf("%d bytes", v.GetCapacityBytes())
			}
			want(t, n.publish("vol", n.target("pod")), codes.FailedPrecondition, "volumeMode: Block")
			target := n.mounted("vol", "pod", usedAs(manyRaw()))
			reader := n.mounted("vol", "reader", usedAs(manyRaw()), readOnly)
			dev, err := os.OpenFile(target, os.O_RDWR, 0)
			must(t, err)
			defer dev.Close()
			if size, err := dev.Seek(0, io.SeekEnd); err != nil || size != 16*mib+512 {
				t.Errorf("%d bytes %v", size, err)
			}
			if _, err := dev.WriteAt([]byte("text"), 0); err != nil {
				t.Error(err)
			}
			must(t, dev.Sync())
			if f, err := os.OpenFile(reader, os.O_RDWR, 0); err == nil {
				if _, err = f.WriteAt([]byte("no"), 0); err == nil {
					err = f.Sync()
				}
				if err == nil {
					t.Error("written to a read-only device")
				}
				f.Close()
			}
			if got := head(t, reader, 4); got != "text" {
				t.Errorf("%q", got)
			}
			stats, err := n.stats("vol", target)
			must(t, err)
			if u := stats.GetUsage(); len(u) != 1 || u[0].GetTotal() != 16*mib+512 {
				t.Errorf("%v", stats)
			}
			must(t, n.expand("vol", 32*mib))
			if size, err := dev.Seek(0, io.SeekEnd); err != nil || size != 32*mib {
				t.Errorf("after growth %d bytes %v", size, err)
			}
			_, err = n.cut("snap", "vol")
			if pool == "ext4" {
				want(t, err, codes.FailedPrecondition, "unpublish")
			} else {
				must(t, err)
				if _, err := dev.WriteAt([]byte("more"), 0); err != nil {
					t.Error(err)
				}
				must(t, dev.Sync())
				n.volume("restored", as(manyRaw()), fromSnapshot("snap"), bytes(32*mib))
				if got := head(t, n.mounted("restored", "restored", usedAs(manyRaw())), 4); got != "text" {
					t.Errorf("%q", got)
				}
			}
			dev.Close()
			n.unmounted("vol", reader)
			n.unmounted("vol", target)
			if _, err := os.Lstat(target); !os.IsNotExist(err) {
				t.Errorf("the target is left: %v", err)
			}
			n.detached("vol", "after its last use")
			if pool == "ext4" {
				n.snapshot("snap", "vol")
			}
		})
	}
}

func head(t *testing.T, path string, size int) string {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	b := make([]byte, size)
	_, err = io.ReadFull(f, b)
	must(t, err)
	return string(b)
}

// Deleted data of a thin volume returns its space; that of a thick one stays reserved, and no discard changes that.
func TestThinAndThick(t *testing.T) {
	for _, pool := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(pool, func(t *testing.T) {
			t.Parallel()
			n := serveOn(t, pool)
			use := formatted("ext4")
			for _, allocation := range []string{"thin", "thick"} {
				n.volume(allocation, with("engine", "image", "allocation", allocation), as(use), bytes(128*mib))
				target := n.mounted(allocation, allocation, usedAs(use))
				at := allocated(t, n.image(allocation))
				if thick := at >= 128*mib; thick != (allocation == "thick") {
					t.Errorf("%s: %d bytes are allocated at first", allocation, at)
				}
				_, err := write(t, filepath.Join(target, "big"), 64*mib)
				must(t, err)
				full := allocated(t, n.image(allocation))
				must(t, os.Remove(filepath.Join(target, "big")))
				trim(t, target)
				after := allocated(t, n.image(allocation))
				if gave := full-after > 48*mib; gave != (allocation == "thin") {
					t.Errorf("%s: %d bytes are allocated, %d before the removal", allocation, after, full)
				}
			}
		})
	}
}

func allocated(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Stat(path, &st))
	return st.Blocks * 512
}

// trim asks the filesystem to give back what it does not use; one on a device without discard refuses.
func trim(t *testing.T, dir string) {
	t.Helper()
	unix.Sync()
	out, err := exec.Command("fstrim", dir).CombinedOutput()
	if err != nil && !strings.Contains(string(out), "not supported") {
		t.Errorf("%v: %s", err, out)
	}
}

// What one asks of an image that it cannot be.
func TestWrongImages(t *testing.T) {
	n := serveOn(t, "btrfs")
	for name, c := range map[string]struct {
		change []func(*csi.CreateVolumeRequest)
		words  string
	}{
		"engine":    {[]func(*csi.CreateVolumeRequest){with("engine", "lvm")}, "directory, image"},
		"fstype":    {[]func(*csi.CreateVolumeRequest){with("engine", "image"), as(formatted("vfat"))}, "ext4"},
		"directory": {[]func(*csi.CreateVolumeRequest){as(formatted("ext4"))}, "engine: image"},
		"block":     {[]func(*csi.CreateVolumeRequest){with("engine", "directory"), as(manyRaw())}, "engine: image"},
		"mkfs":      {[]func(*csi.CreateVolumeRequest){with("mkfsOptions", "-O quota"), as(manyRaw())}, "mkfsOptions"},
		"mode":      {[]func(*csi.CreateVolumeRequest){with("mode", "0700"), as(manyRaw())}, "root directory"},
		"both":      {[]func(*csi.CreateVolumeRequest){func(r *csi.CreateVolumeRequest) { r.VolumeCapabilities = append(r.VolumeCapabilities, manyRaw()) }}, "one volumeMode"},
		"thick":     {[]func(*csi.CreateVolumeRequest){with("engine", "directory", "allocation", "thick")}, "engine: image"},
	} {
		_, err := n.create("vol", c.change...)
		want(t, err, codes.InvalidArgument, c.words)
		if err == nil {
			t.Error(name)
		}
	}
	_, err := n.create("vol", with("engine", "image", "mkfsOptions", "--no-such-option"), as(formatted("ext4")))
	want(t, err, codes.InvalidArgument, "mkfsOptions", "invalid option")
	if left := n.all(); len(left) > 0 {
		t.Errorf("%v", left)
	}
	for _, c := range []*csi.VolumeCapability{manyRaw(), formatted("ext4")} {
		_, err = n.create("huge", with("engine", "image"), as(c), bytes(1<<63-1))
		want(t, err, codes.OutOfRange)
	}
	_, err = n.create("limit", with("engine", "image"), as(formatted("xfs")), func(r *csi.CreateVolumeRequest) {
		r.CapacityRange = &csi.CapacityRange{RequiredBytes: mib, LimitBytes: 100 * mib}
	})
	want(t, err, codes.OutOfRange)
	n.volume("options", with("engine", "image", "mkfsOptions", "-L named -O ^metadata_csum"), as(formatted("ext4")))
	want(t, n.publish("options", n.target("pod"), usedAs(formatted("xfs"))), codes.FailedPrecondition, "ext4")
	want(t, n.publish("options", n.target("pod"), usedAs(manyRaw())), codes.FailedPrecondition, "volumeMode: Filesystem")
	err = n.publish("options", n.target("pod"), usedAs(formatted("ext4", "no_such_option")))
	want(t, err, codes.InvalidArgument, "no_such_option")
	n.detached("options", "after a publication that failed")
	n.mounted("options", "pod", usedAs(formatted("", "noatime", "commit=30")))
	table, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	if !slices.ContainsFunc(strings.Split(string(table), "\n"), func(l string) bool {
		return strings.Contains(l, n.target("pod")) && strings.Contains(l, "noatime") && strings.Contains(l, "commit=30")
	}) {
		t.Error("the mount options are not in force")
	}
}

// What is not recognised any more is never formatted, and what has lost its end is not used.
func TestDamagedImages(t *testing.T) {
	n := serveOn(t, "btrfs")
	use := formatted("ext4")
	n.volume("zeroed", with("engine", "image"), as(use))
	f, err := os.OpenFile(n.image("zeroed"), os.O_RDWR, 0)
	must(t, err)
	_, err = f.WriteAt(make([]byte, 8192), 0)
	must(t, err)
	must(t, f.Close())
	want(t, n.publish("zeroed", n.target("pod"), usedAs(use)), codes.FailedPrecondition, "never formatted")
	if got := head(t, n.image("zeroed"), 8192); strings.Trim(got, "\x00") != "" {
		t.Error("it was written to")
	}
	n.volume("short", with("engine", "image"), as(use))
	must(t, os.Truncate(n.image("short"), 5*mib))
	if err := n.publish("short", n.target("pod"), usedAs(use)); err == nil || !strings.Contains(err.Error(), "restore") {
		t.Error(err)
	}
	n.volume("gone", with("engine", "image"), as(use))
	must(t, os.Remove(n.image("gone")))
	want(t, n.publish("gone", n.target("pod"), usedAs(use)), codes.FailedPrecondition, "missing")
	for id, reason := range map[string]string{"short": "ImageTooShort", "gone": "DataMissing"} {
		if got := n.reasons(id); !slices.Contains(got, reason) {
			t.Errorf("%s: %v", id, got)
		}
	}
	n.faulty = true
	for _, d := range []string{"zeroed", "short"} {
		n.detached(d, "refused")
	}
}

// Whoever dies between attaching and mounting leaves a device that the next start takes off; what is in use stays.
func TestDevicesAfterAKill(t *testing.T) {
	n := serveOn(t, "xfs")
	use := formatted("ext4")
	for _, id := range []string{"used", "left"} {
		n.volume(id, with("engine", "image"), as(use))
	}
	n.volume("raw", as(manyRaw()))
	n.mounted("used", "used", usedAs(use))
	n.mounted("raw", "raw", usedAs(manyRaw()))
	must(t, n.daemon.Kill())
	n.daemon = nil
	f, err := os.OpenFile(n.image("left"), os.O_RDWR, 0)
	must(t, err)
	_, err = loop.Attach(t.Context(), f, loop.Options{})
	must(t, err)
	must(t, f.Close())
	n.start()
	for _, id := range []string{"used", "raw"} {
		if d := n.devices(id); len(d) != 1 {
			t.Errorf("%s: %v", id, d)
		}
	}
	n.detached("left", "after the next start")
	must(t, os.WriteFile(filepath.Join(n.target("used"), "file"), []byte("text"), 0o600))
	want(t, n.remove("used"), codes.FailedPrecondition)
	want(t, n.remove("raw"), codes.FailedPrecondition)
	must(t, n.unpublish("raw", n.target("raw")))
	must(t, n.unpublish("used", n.target("used")))
	noneLeft(t, n.pool)
}

// A file on a pool's filesystem is reached at the pool's own speed, and an image by direct I/O.
func TestDirectIO(t *testing.T) {
	for _, pool := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(pool, func(t *testing.T) {
			t.Parallel()
			n := serveOn(t, pool)
			n.volume("raw", as(manyRaw()))
			n.mounted("raw", "raw", usedAs(manyRaw()))
			d := n.devices("raw")
			if len(d) != 1 || !d[0].DirectIO || d[0].Autoclear {
				t.Errorf("%+v", d)
			}
			n.unmounted("raw", n.target("raw"))
		})
	}
}

// Stages and publications in every order leave nothing attached.
func TestStagedImages(t *testing.T) {
	n := serveOn(t, "btrfs")
	use := manyRaw()
	n.volume("raw", as(use))
	staging := filepath.Join(n.daemon.KubeletDir(), "plugins", "staging")
	must(t, os.MkdirAll(staging, 0o755))
	stage := func() error {
		_, err := n.kubelet.NodeStageVolume(n.ctx(), &csi.NodeStageVolumeRequest{VolumeId: "raw", StagingTargetPath: staging, VolumeCapability: use})
		return err
	}
	unstage := func() error {
		_, err := n.kubelet.NodeUnstageVolume(n.ctx(), &csi.NodeUnstageVolumeRequest{VolumeId: "raw", StagingTargetPath: staging})
		return err
	}
	count := func(want int, when string) {
		t.Helper()
		if want == 0 {
			n.detached("raw", when)
		} else if d := n.devices("raw"); len(d) != want {
			t.Errorf("%s: %v", when, d)
		}
	}
	must(t, stage())
	must(t, stage())
	count(1, "staged")
	target := n.mounted("raw", "pod", usedAs(use))
	must(t, n.unpublish("raw", target))
	count(1, "still staged")
	must(t, n.publish("raw", target, usedAs(use)))
	must(t, unstage())
	count(1, "still published")
	must(t, n.unpublish("raw", target))
	count(0, "neither")
	must(t, stage())
	// Somebody else has the device open: it goes when that ends, and is taken back when it is wanted before.
	f, err := os.Open(n.devices("raw")[0].Path())
	must(t, err)
	must(t, unstage())
	must(t, stage())
	must(t, f.Close())
	count(1, "taken back")
	must(t, unstage())
	count(0, "unstaged")
}

// A growth for which the pool has no room is refused, and reserves nothing: a smaller one goes through.
func TestAGrowthThatDoesNotFit(t *testing.T) {
	n := newNode(t)
	n.pool = n.filesystem("xfs", 1024)
	n.start("--config", writeConfig(t, fmt.Sprintf("pools: [{name: default, path: %s, create: true, overcommit: 4}]", n.pool)))
	use := manyRaw()
	n.volume("vol", with("allocation", "thick"), as(use), bytes(16*mib))
	must(t, n.expand("vol", 16*mib+1))
	if v, err := n.get("vol"); err != nil || v.GetCapacityBytes() != 16*mib+512 {
		t.Errorf("%v %v", v, err)
	}
	for range 2 {
		want(t, n.expand("vol", 3*gib), codes.OutOfRange)
		if v, err := n.get("vol"); err != nil || v.GetCapacityBytes() != 16*mib+512 {
			t.Errorf("%v %v", v, err)
		}
		if got := n.reasons("vol"); len(got) > 0 {
			t.Errorf("%v", got)
		}
		n.restart()
	}
	must(t, n.expand("vol", 32*mib))
	target := n.mounted("vol", "pod", usedAs(use))
	if size, err := sizeOf(target); err != nil || size != 32*mib {
		t.Errorf("%d %v", size, err)
	}
	must(t, n.unpublish("vol", target))
}

// A filesystem that can never have the asked size is left as it is, and says so at once.
func TestAGrowthThatCanNeverBe(t *testing.T) {
	n := newNode(t)
	n.pool = n.filesystem("xfs", 1024)
	n.start("--config", writeConfig(t, fmt.Sprintf("pools: [{name: default, path: %s, create: true, overcommit: 4096}]", n.pool)))
	use := formatted("ext4")
	n.volume("vol", with("engine", "image", "mkfsOptions", "-b 1024"), as(use), bytes(256*mib))
	want(t, n.expand("vol", 1100*gib), codes.OutOfRange, "1024 bytes")
	target := n.mounted("vol", "pod", usedAs(use))
	want(t, n.expand("vol", 1100*gib), codes.OutOfRange)
	n.unmounted("vol", target)
	_, err := n.create("larger", with("engine", "image"), as(use), fromVolume("vol"), bytes(1100*gib))
	want(t, err, codes.OutOfRange)
	n.detached("vol", "at the end")
}

func sizeOf(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return f.Seek(0, io.SeekEnd)
}

// Many ask for copies of one mounted filesystem at once: one after another gets it, and nothing stays frozen.
func TestSnapshotsTogether(t *testing.T) {
	for _, pool := range []string{"ext4", "btrfs"} {
		t.Run(pool, func(t *testing.T) {
			t.Parallel()
			n := serveOn(t, pool)
			use, image := formatted("ext4"), with("engine", "image")
			n.volume("vol", image, as(use), bytes(64*mib))
			target := n.mounted("vol", "pod", usedAs(use))
			_, err := write(t, filepath.Join(target, "big"), 40*mib)
			must(t, err)
			var all sync.WaitGroup
			for i := range 4 {
				all.Go(func() {
					done(t, func() error {
						_, err := n.cut(fmt.Sprint("snap-", i), "vol")
						return err
					})
				})
			}
			all.Wait()
			must(t, os.WriteFile(filepath.Join(target, "thawed"), nil, 0o600))
			if _, err := unix.Lgetxattr(filepath.Dir(n.image("vol")), "trusted.hostvol.frozen", nil); err == nil {
				t.Error("the note is left")
			}
		})
	}
}

// While volumes are looked at, publications come and go, and no device is lost.
func TestLooksWhileDevicesChange(t *testing.T) {
	n := serveOn(t, "xfs")
	n.volume("vol", as(manyRaw()))
	stop, stopped := make(chan struct{}), make(chan struct{})
	target := n.target("writer")
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				_, _ = n.stats("vol", target)
			}
		}
	}()
	for range 40 {
		must(t, n.publish("vol", target, usedAs(manyRaw())))
		must(t, n.publish("vol", n.target("reader"), usedAs(manyRaw()), readOnly))
		must(t, n.unpublish("vol", n.target("reader")))
		must(t, n.unpublish("vol", target))
	}
	close(stop)
	<-stopped
	gone(t, n.pool)
}

// One image that cannot be told does not keep the others of its pool from being served.
func TestAnImageThatIsSomethingElse(t *testing.T) {
	n := serveOn(t, "ext4")
	n.volume("vol", as(manyRaw()))
	n.volume("other", as(manyRaw()))
	must(t, os.Remove(n.image("vol")))
	must(t, os.Symlink("/etc/passwd", n.image("vol")))
	n.restart()
	n.mounted("other", "pod", usedAs(manyRaw()))
	want(t, n.publish("vol", n.target("vol"), usedAs(manyRaw())), codes.FailedPrecondition)
	n.faulty = true
}
