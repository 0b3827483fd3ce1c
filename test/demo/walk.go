package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/test/daemon"
)

const (
	name      = "pvc-demo"
	size      = 64 << 20
	grownSize = 96 << 20
	greeting  = "written by the demo\n"
)

// walk is the state that the steps share.
type walk struct {
	show     *show
	binary   string
	dir      string // scratch directory, also holds the sockets
	pool     string
	enforced bool // the pool's file system can hold a volume to its size

	daemon     *daemon.Daemon
	volumeID   string
	snapshotID string
	context    map[string]string
}

func (w *walk) steps() []step {
	return []step{
		{title: "Start the daemon on an empty pool", do: w.start},
		{title: "Create a volume", do: w.create},
		{title: "Publish it, as the kubelet does for a pod", do: w.publish},
		{title: "Write a file", do: w.write},
		{title: "Write beyond the limit", limit: true, do: w.overfill},
		{title: "Ask for statistics", do: w.stats},
		{title: "Publish it read-only at a second target", do: w.publishReadOnly},
		{title: "Expand the volume while it is mounted", do: w.expand},
		{title: "Write more, into the new room", limit: true, do: w.writeMore},
		{title: "Kill the daemon and start it again, under the mounted volume", do: w.restart},
		{title: "Unpublish both targets", do: w.unpublish},
		{title: "Delete the volume", do: w.remove},
		{title: "Look into the trash", do: w.trash},
		{title: "Restore it from the trash", do: w.restore},
		{title: "Publish the restored volume", do: w.publishAgain},
		{title: "Take a snapshot, and change the volume", do: w.snapshot},
		{title: "Make a larger volume of the snapshot", do: w.restoreSnapshot},
		{title: "Delete both", do: w.removeCopies},
		{title: "Create a raw block volume, and publish it", do: w.block},
		{title: "Write to the device", do: w.writeBlock},
		{title: "Unpublish and delete it", do: w.removeBlock},
		{title: "Clean up and check the pool", do: w.finish},
	}
}

func (w *walk) start(ctx context.Context) (asked, happened string, err error) {
	config := filepath.Join(w.dir, "config.yaml")
	if err := os.WriteFile(config, []byte("trash:\n  retention: 1h\n"), 0o600); err != nil {
		return "", "", err
	}
	if err := os.Mkdir(w.pool, 0o755); err != nil {
		return "", "", err
	}
	d, err := daemon.Start(ctx, daemon.Options{
		Binary: w.binary,
		Dir:    w.dir,
		Args:   []string{"--config", config, "--pool", "demo=" + w.pool, "--mode", "single"},
	})
	if err != nil {
		return "hostvol serve", "", err
	}
	w.daemon = d
	w.show.took = d.Startup
	info, err := csi.NewIdentityClient(d.Conn()).GetPluginInfo(ctx, &csi.GetPluginInfoRequest{})
	return strings.ReplaceAll(strings.Join(d.CommandLine(), " "), " --", " \\\n  --"),
		fmt.Sprintf("%s %s is ready, pid %d", info.GetName(), info.GetVendorVersion(), d.PID()), err
}

func (w *walk) create(ctx context.Context) (asked, happened string, err error) {
	asked = fmt.Sprintf("CreateVolume %s, %s", name, mib(size))
	stop := w.show.clock()
	answer, err := w.controller().CreateVolume(ctx, &csi.CreateVolumeRequest{
		Name:               name,
		CapacityRange:      &csi.CapacityRange{RequiredBytes: size},
		VolumeCapabilities: []*csi.VolumeCapability{capability()},
	})
	stop()
	if err != nil {
		return asked, "", err
	}
	w.volumeID = answer.GetVolume().GetVolumeId()
	w.context = answer.GetVolume().GetVolumeContext()
	if got := answer.GetVolume().GetCapacityBytes(); got != size {
		return asked, "", fmt.Errorf("capacity is %d bytes, want %d", got, size)
	}
	listing, err := w.daemon.Admin(ctx, "volumes")
	return asked, fmt.Sprintf("volume %s, on the disk at %s\n%s", w.volumeID, w.onDisk(), listing), err
}

func (w *walk) publish(ctx context.Context) (asked, happened string, err error) {
	asked = "NodePublishVolume at " + w.target()
	if err := w.nodePublish(ctx, w.target(), false); err != nil {
		return asked, "", err
	}
	line, err := mountLine(w.target())
	return asked, "mounted: " + line, err
}

func (w *walk) publishReadOnly(ctx context.Context) (asked, happened string, err error) {
	asked = "NodePublishVolume, readonly, at " + w.second()
	if err := w.nodePublish(ctx, w.second(), true); err != nil {
		return asked, "", err
	}
	if err := w.fileIsThere(w.second()); err != nil {
		return asked, "", err
	}
	err = os.WriteFile(filepath.Join(w.second(), "forbidden"), nil, 0o600)
	if !errors.Is(err, unix.EROFS) {
		return asked, "", errors.Join(errors.New("a write through the read-only target is not refused with EROFS"), err)
	}
	return asked, "the file can be read there; a write is refused: " + err.Error(), nil
}

func (w *walk) stats(ctx context.Context) (asked, happened string, err error) {
	asked = "NodeGetVolumeStats of " + w.target()
	if err := syncFS(w.target()); err != nil { // btrfs counts at its commits
		return asked, "", err
	}
	stop := w.show.clock()
	answer, err := w.node().NodeGetVolumeStats(ctx, &csi.NodeGetVolumeStatsRequest{VolumeId: w.volumeID, VolumePath: w.target()})
	stop()
	if err != nil {
		return asked, "", err
	}
	for _, usage := range answer.GetUsage() {
		if usage.GetUnit() != csi.VolumeUsage_BYTES {
			continue
		}
		if w.enforced && (usage.GetTotal() != size || usage.GetUsed() < size*9/10) {
			return asked, "", fmt.Errorf("total %d, used %d bytes: want %d and nearly as much", usage.GetTotal(), usage.GetUsed(), size)
		}
		return asked, fmt.Sprintf("%s used of %s, %s available", mib(usage.GetUsed()), mib(usage.GetTotal()), mib(usage.GetAvailable())), nil
	}
	return asked, "", errors.New("no usage in bytes in the answer")
}

func (w *walk) expand(ctx context.Context) (asked, happened string, err error) {
	asked = fmt.Sprintf("ControllerExpandVolume and, if that says so, NodeExpandVolume to %s", mib(grownSize))
	defer w.show.clock()()
	more := &csi.CapacityRange{RequiredBytes: grownSize}
	answer, err := w.controller().ControllerExpandVolume(ctx, &csi.ControllerExpandVolumeRequest{VolumeId: w.volumeID, CapacityRange: more})
	if err != nil {
		return asked, "", err
	}
	if answer.GetCapacityBytes() != grownSize {
		return asked, "", fmt.Errorf("capacity is %d bytes, want %d", answer.GetCapacityBytes(), grownSize)
	}
	if answer.GetNodeExpansionRequired() {
		request := &csi.NodeExpandVolumeRequest{VolumeId: w.volumeID, VolumePath: w.target(), CapacityRange: more}
		if _, err := w.node().NodeExpandVolume(ctx, request); err != nil {
			return asked, "", err
		}
	}
	return asked, "the volume has " + mib(answer.GetCapacityBytes()), nil
}

func (w *walk) restart(ctx context.Context) (asked, happened string, err error) {
	before := w.daemon.PID()
	asked = fmt.Sprintf("SIGKILL to pid %d, then the same command again, then NodePublishVolume once more", before)
	if err := w.daemon.Kill(); err != nil {
		return asked, "", err
	}
	if err := w.fileIsThere(w.target()); err != nil {
		return asked, "", fmt.Errorf("while no daemon runs: %w", err)
	}
	stop := w.show.clock()
	err = w.daemon.Restart(ctx)
	stop()
	if err != nil {
		return asked, "", err
	}
	mounted, err := mountLine(w.target())
	if err != nil {
		return asked, "", err
	}
	if err := w.nodePublish(ctx, w.target(), false); err != nil {
		return asked, "", err
	}
	if again, err := mountLine(w.target()); err != nil || again != mounted {
		return asked, "", errors.Join(fmt.Errorf("the mount changed from %q to %q", mounted, again), err)
	}
	return asked, fmt.Sprintf("pid %d was ready in %s; the file was readable all the time, and the publish found its mount",
		w.daemon.PID(), duration(w.daemon.Startup)), w.fileIsThere(w.target())
}

func (w *walk) unpublish(ctx context.Context) (asked, happened string, err error) {
	asked = "NodeUnpublishVolume of both"
	for _, target := range []string{w.target(), w.second()} {
		if err := w.nodeUnpublish(ctx, target); err != nil {
			return asked, "", err
		}
	}
	return asked, "both mounts and their directories are gone; the data stays in the pool", nil
}

func (w *walk) remove(ctx context.Context) (asked, happened string, err error) {
	asked = "DeleteVolume " + w.volumeID
	if err := w.delete(ctx); err != nil {
		return asked, "", err
	}
	if _, err := os.Lstat(w.onDisk()); !errors.Is(err, os.ErrNotExist) {
		return asked, "", errors.Join(fmt.Errorf("%s is still there", w.onDisk()), err)
	}
	return asked, "one rename into the trash, whatever its size; it is purged after the retention of an hour", nil
}

func (w *walk) trash(ctx context.Context) (asked, happened string, err error) {
	listing, err := w.admin(ctx, "trash", "list")
	if err == nil && !strings.Contains(listing, w.volumeID) {
		err = fmt.Errorf("%s is not in the list:\n%s", w.volumeID, listing)
	}
	return "hostvol trash list", listing, err
}

func (w *walk) restore(ctx context.Context) (asked, happened string, err error) {
	asked = "hostvol trash restore " + w.volumeID
	out, err := w.admin(ctx, "trash", "restore", w.volumeID)
	if err != nil {
		return asked, "", err
	}
	if _, err := os.Lstat(w.onDisk()); err != nil {
		return asked, "", err
	}
	return asked, strings.TrimSpace(out) + "\n" + w.onDisk() + " is back", nil
}

func (w *walk) publishAgain(ctx context.Context) (asked, happened string, err error) {
	asked = "NodePublishVolume at " + w.target()
	if err := w.nodePublish(ctx, w.target(), false); err != nil {
		return asked, "", err
	}
	return asked, fmt.Sprintf("the file is there: %q", greeting), w.fileIsThere(w.target())
}

func (w *walk) finish(ctx context.Context) (asked, happened string, err error) {
	asked = "unpublish, delete, hostvol trash purge, hostvol check, SIGTERM"
	if err := w.nodeUnpublish(ctx, w.target()); err != nil {
		return asked, "", err
	}
	if err := w.delete(ctx); err != nil {
		return asked, "", err
	}
	purged, err := w.purgeAll(ctx)
	if err != nil {
		return asked, "", err
	}
	report, err := w.admin(ctx, "check")
	if err != nil {
		return asked, "", err
	}
	defer w.show.clock()()
	return asked, purged + "\n" + report + "the daemon ended with status 0", w.daemon.Stop()
}
