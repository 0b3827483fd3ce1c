//go:build vm

package vm

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
)

// imageBytes is the size of a volume with a filesystem of its own.
func imageBytes(filesystem string) int64 {
	return map[string]int64{"ext4": 32 * mib, "btrfs": 256 * mib, "xfs": 320 * mib}[filesystem]
}

// images runs a test for what an image can hold, "" for a raw block volume, on both filesystems. What differs between
// these is how an image is copied, and one kind of filesystem shows that.
func images(t *testing.T, test func(t *testing.T, n *node, kind string)) {
	for _, c := range []struct{ pool, kind string }{{"xfs", ""}, {"xfs", "ext4"}, {"xfs", "xfs"}, {"xfs", "btrfs"}, {"ext4", ""}, {"ext4", "ext4"}} {
		name := c.kind
		if name == "" {
			name = "block"
		}
		t.Run(name+" on "+c.pool, func(t *testing.T) { test(t, newNodeOf(t, c.pool, 2048), c.kind) })
	}
}

// formatted asks for a filesystem of the volume's own; for "" it asks for a raw block volume.
func formatted(kind string) *csi.VolumeCapability {
	c := capability()
	if kind == "" {
		c.AccessType = &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}
	} else {
		c.GetMount().FsType = kind
	}
	return c
}

func (n *node) createImage(id, kind string, bytes int64, from *csi.VolumeContentSource) {
	n.t.Helper()
	_, err := n.controller().CreateVolume(n.t.Context(), &csi.CreateVolumeRequest{
		Name: id, CapacityRange: &csi.CapacityRange{RequiredBytes: bytes}, Parameters: map[string]string{"engine": "image", "enforce": "required"},
		VolumeCapabilities: []*csi.VolumeCapability{formatted(kind)}, VolumeContentSource: from,
	})
	n.must(err)
}

func (n *node) expandImage(id, kind string, bytes int64) {
	n.t.Helper()
	_, err := n.controller().ControllerExpandVolume(n.t.Context(), &csi.ControllerExpandVolumeRequest{
		VolumeId: id, CapacityRange: &csi.CapacityRange{RequiredBytes: bytes}, VolumeCapability: formatted(kind),
	})
	n.must(err)
}

func (n *node) snapshot(id, source string) error {
	_, err := n.controller().CreateSnapshot(n.t.Context(), &csi.CreateSnapshotRequest{Name: id, SourceVolumeId: source})
	return err
}

// counter writes one number after the other, durably, until it is stopped; done is the last that was.
type counter struct {
	done atomic.Int64
	stop chan struct{}
	err  chan error
}

func count(path string) *counter {
	c := &counter{stop: make(chan struct{}), err: make(chan error, 1)}
	go func() { c.err <- c.write(path) }()
	return c
}

func (c *counter) write(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	for i := int64(1); ; i++ {
		select {
		case <-c.stop:
			return nil
		default:
		}
		if _, err := f.WriteAt(fmt.Appendf(nil, "%-511d\n", i), 0); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		c.done.Store(i)
	}
}

// end stops it, and tells the last number.
func (c *counter) end(n *node) int64 {
	n.t.Helper()
	close(c.stop)
	n.must(<-c.err)
	return c.done.Load()
}

func counted(t *testing.T, path string) int64 {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	text := make([]byte, 512)
	_, err = io.ReadFull(f, text)
	must(t, err)
	i, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	must(t, err)
	return i
}

// within is where a test writes in what is published: the device, or a file of the filesystem.
func within(target, kind string) string {
	if kind == "" {
		return target
	}
	return filepath.Join(target, "count")
}

// capacity is what a pod sees at once of a volume's size.
func (n *node) capacity(target, kind string) int64 {
	n.t.Helper()
	if kind != "" {
		total, _ := n.size(target)
		return total
	}
	f, err := os.Open(target)
	n.must(err)
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	n.must(err)
	return size
}

// TestImages: an image grows and is snapshotted while it is written, its size binds everybody, and it comes back after
// a boot.
func TestImages(t *testing.T) {
	images(t, func(t *testing.T, n *node, kind string) {
		size := max(imageBytes(kind), 8*mib)
		n.createImage("vol", kind, size, nil)
		target := n.publishAs("vol", formatted(kind))
		before := n.capacity(target, kind)
		if before > size || before < size*6/10 {
			t.Errorf("a volume of %d bytes shows %d", size, before)
		}
		c := count(within(target, kind))
		n.until("it writes", func() bool { return c.done.Load() > 2 })

		n.expandImage("vol", kind, 2*size)
		if now := n.capacity(target, kind); now < before+size*8/10 || now > 2*size {
			t.Errorf("the %s grew to %d bytes, and shows %d, %d before", kind, 2*size, now, before)
		}
		at := c.done.Load()
		n.until("it writes after the growth", func() bool { return c.done.Load() > at })

		at = c.done.Load()
		err := n.snapshot("snap", "vol")
		if kind == "" && n.kind == "ext4" {
			if err == nil || !strings.Contains(err.Error(), "unpublish") {
				t.Errorf("a snapshot of a device in use, without reflinks: %v", err)
			}
		} else {
			must(t, err)
			latest := c.done.Load() + 1 // that one may not have been noted
			n.createImage("restored", kind, 2*size, ofSnapshot("snap"))
			restored := n.publishAs("restored", formatted(kind))
			if i := counted(t, within(restored, kind)); i < at || i > latest {
				t.Errorf("the snapshot holds %d; %d was synced before it, %d after it", i, at, latest)
			}
			n.unpublish("restored", restored)
		}
		at = c.done.Load()
		n.until("it writes after the snapshot", func() bool { return c.done.Load() > at })
		last := c.end(n)

		n.fill(target, kind, 2*size)
		n.reboot(target)
		target = n.publishAs("vol", formatted(kind))
		if i := counted(t, within(target, kind)); i != last {
			t.Errorf("after a boot it holds %d, not %d", i, last)
		}
		if now := n.capacity(target, kind); now < before+size*8/10 {
			t.Errorf("after a boot it shows %d bytes", now)
		}
		if out, clean := n.check(); !clean {
			t.Error(out)
		}
		n.unpublish("vol", target)
		if left := n.devices(); len(left) > 0 {
			t.Errorf("attached after the last use: %v", left)
		}
	})
}

// fill writes as root, with CAP_SYS_RESOURCE, more than the volume holds.
func (n *node) fill(target, kind string, size int64) {
	n.t.Helper()
	if kind == "" {
		f, err := os.OpenFile(target, os.O_WRONLY, 0)
		n.must(err)
		defer f.Close()
		if _, err := f.WriteAt(make([]byte, 512), size-512); err != nil {
			n.t.Errorf("the last sector: %v", err)
		}
		if _, err := f.WriteAt(make([]byte, 512), size); !errors.Is(err, unix.ENOSPC) {
			n.t.Errorf("a write behind the end: %v", err)
		}
		return
	}
	filler := filepath.Join(target, "filler")
	reserved := n.reserve(filler+"-reserved", target)
	written, err := root().write(n.t, filler, size)
	if all := reserved + written; !errors.Is(err, unix.ENOSPC) || all > size || all < size/2 {
		n.t.Errorf("root got %d bytes into a volume of %d: %v", all, size, err)
	}
	n.must(errors.Join(os.Remove(filler), os.Remove(filler+"-reserved")))
}

// reserve allocates most of what is free in a filesystem, which is quicker than to write it.
func (n *node) reserve(path, target string) int64 {
	n.t.Helper()
	f, err := os.Create(path)
	n.must(err)
	defer f.Close()
	_, free := n.size(target)
	for bytes := free - free/8; bytes > mib; bytes -= bytes / 4 {
		err := unix.Fallocate(int(f.Fd()), 0, 0, bytes)
		if err == nil {
			return bytes
		}
		if !errors.Is(err, unix.ENOSPC) {
			n.must(err)
		}
	}
	return 0
}
