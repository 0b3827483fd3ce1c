package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
)

func (w *walk) controller() csi.ControllerClient { return csi.NewControllerClient(w.daemon.Conn()) }
func (w *walk) node() csi.NodeClient             { return csi.NewNodeClient(w.daemon.Conn()) }

func (w *walk) target() string { return filepath.Join(w.daemon.KubeletDir(), "pod-1") }
func (w *walk) device() string { return filepath.Join(w.daemon.KubeletDir(), "pod-3-device") }
func (w *walk) second() string { return filepath.Join(w.daemon.KubeletDir(), "pod-2") }
func (w *walk) onDisk() string { return filepath.Join(w.pool, "volumes", w.volumeID) }

// capability allows several pods of the node, so that the read-only target may stand beside the first.
func capability() *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER},
	}
}

func blockCapability() *csi.VolumeCapability {
	c := capability()
	c.AccessType = &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}
	return c
}

func (w *walk) publishAs(ctx context.Context, id, target string, c *csi.VolumeCapability) error {
	defer w.show.clock()()
	_, err := w.node().NodePublishVolume(ctx, &csi.NodePublishVolumeRequest{VolumeId: id, TargetPath: target, VolumeCapability: c})
	return err
}

func (w *walk) nodePublish(ctx context.Context, target string, readonly bool) error {
	defer w.show.clock()()
	_, err := w.node().NodePublishVolume(ctx, &csi.NodePublishVolumeRequest{
		VolumeId:         w.volumeID,
		TargetPath:       target,
		VolumeCapability: capability(),
		VolumeContext:    w.context,
		Readonly:         readonly,
	})
	return err
}

func (w *walk) nodeUnpublish(ctx context.Context, target string) error {
	return w.unpublishFrom(ctx, w.volumeID, target)
}

func (w *walk) unpublishFrom(ctx context.Context, id, target string) error {
	stop := w.show.clock()
	_, err := w.node().NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: id, TargetPath: target})
	stop()
	if err != nil {
		return err
	}
	if _, err := os.Lstat(target); !errors.Is(err, os.ErrNotExist) {
		return errors.Join(fmt.Errorf("%s is still there", target), err)
	}
	return nil
}

// delete and admin are used by several steps.
func (w *walk) delete(ctx context.Context) error {
	defer w.show.clock()()
	_, err := w.controller().DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: w.volumeID})
	return err
}

func (w *walk) admin(ctx context.Context, args ...string) (string, error) {
	defer w.show.clock()()
	return w.daemon.Admin(ctx, args...)
}

// abandon ends the daemon, if a step before the last failed, and unmounts what it published.
func (w *walk) abandon() error {
	if w.daemon == nil {
		return nil
	}
	if _, err := os.Lstat(w.device()); err == nil { // else the loop device would stay
		_ = w.unpublishFrom(context.Background(), blockName, w.device())
	}
	for _, target := range []string{w.target(), w.second(), w.device()} {
		for unix.Unmount(target, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH) == nil {
			w.show.note("unmounted " + target)
		}
	}
	return w.daemon.Stop()
}

func (w *walk) write(context.Context) (asked, happened string, err error) {
	path := filepath.Join(w.target(), "greeting.txt")
	asked = "a file of some bytes at " + path
	stop := w.show.clock()
	err = os.WriteFile(path, []byte(greeting), 0o600)
	stop()
	if err != nil {
		return asked, "", err
	}
	kept := filepath.Join(w.onDisk(), "data", "greeting.txt")
	content, err := os.ReadFile(kept)
	if err == nil && string(content) != greeting {
		err = fmt.Errorf("%s holds %q, want %q", kept, content, greeting)
	}
	return asked, "the pool has it, at " + kept, err
}

func (w *walk) overfill(context.Context) (asked, happened string, err error) {
	asked = fmt.Sprintf("%s of data into a volume of %s", mib(2*size), mib(size))
	written, err := w.fill("big", 2*size)
	if !errors.Is(err, unix.EDQUOT) && !errors.Is(err, unix.ENOSPC) {
		return asked, "", errors.Join(fmt.Errorf("%s were written, and not refused with EDQUOT", mib(written)), err)
	}
	if written > size || written < size*9/10 {
		return asked, "", fmt.Errorf("%s got in, want a little less than %s", mib(written), mib(size))
	}
	return asked, fmt.Sprintf("%s got in (%d bytes), then: %v", mib(written), written, err), nil
}

func (w *walk) writeMore(context.Context) (asked, happened string, err error) {
	const more = 16 << 20
	asked = fmt.Sprintf("%s into a second file", mib(more))
	written, err := w.fill("more", more)
	return asked, mib(written) + " got in", err
}

func (w *walk) fileIsThere(target string) error {
	path := filepath.Join(target, "greeting.txt")
	content, err := os.ReadFile(path)
	if err == nil && string(content) != greeting {
		err = fmt.Errorf("%s holds %q, want %q", path, content, greeting)
	}
	return err
}

// fill writes a file in pieces of 256 KiB until it has the size or an error comes; it returns how much got in.
func (w *walk) fill(name string, bytesWanted int64) (written int64, err error) {
	defer w.show.clock()()
	f, err := os.Create(filepath.Join(w.target(), name))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	piece := bytes.Repeat([]byte("hostvol "), 256<<10/8)
	for written < bytesWanted {
		n, err := f.Write(piece)
		written += int64(n)
		if err != nil {
			return written, err
		}
		if n < len(piece) {
			return written, io.ErrShortWrite
		}
	}
	return written, f.Sync()
}

func syncFS(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}

// mountLine is the line of mountinfo for a target that is mounted exactly once: "ID OPTIONS TYPE SOURCE".
func mountLine(target string) (string, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	var found []string
	for _, line := range strings.Split(string(table), "\n") {
		if fields := strings.Fields(line); len(fields) > 6 && fields[4] == target {
			kind := strings.Fields(line[strings.Index(line, " - ")+3:])
			found = append(found, fmt.Sprintf("mount %s, %s, %s", fields[0], fields[5], kind[0]))
		}
	}
	if len(found) != 1 {
		return "", fmt.Errorf("%d mounts at %s, want one", len(found), target)
	}
	return found[0], nil
}
