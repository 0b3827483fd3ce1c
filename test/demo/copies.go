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
)

const (
	snapshotName = "snapshot-demo"
	restoredName = "pvc-restored"
	blockName    = "pvc-block"
	later        = "written after the snapshot\n"
)

func (w *walk) snapshot(ctx context.Context) (asked, happened string, err error) {
	asked = fmt.Sprintf("CreateSnapshot %s of %s, then another text into the file", snapshotName, w.volumeID)
	stop := w.show.clock()
	answer, err := w.controller().CreateSnapshot(ctx, &csi.CreateSnapshotRequest{Name: snapshotName, SourceVolumeId: w.volumeID})
	stop()
	if err != nil {
		return asked, "", err
	}
	w.snapshotID = answer.GetSnapshot().GetSnapshotId()
	if !answer.GetSnapshot().GetReadyToUse() {
		return asked, "", errors.New("the snapshot is not ready to use")
	}
	if err := os.WriteFile(filepath.Join(w.target(), "greeting.txt"), []byte(later), 0o600); err != nil {
		return asked, "", err
	}
	listing, err := w.admin(ctx, "snapshots")
	return asked, listing, err
}

func (w *walk) restoreSnapshot(ctx context.Context) (asked, happened string, err error) {
	asked = fmt.Sprintf("CreateVolume %s from the snapshot, NodePublishVolume at %s", restoredName, w.second())
	stop := w.show.clock()
	answer, err := w.controller().CreateVolume(ctx, &csi.CreateVolumeRequest{
		Name:               restoredName,
		CapacityRange:      &csi.CapacityRange{RequiredBytes: 2 * grownSize},
		VolumeCapabilities: []*csi.VolumeCapability{capability()},
		VolumeContentSource: &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
			Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: w.snapshotID},
		}},
	})
	stop()
	if err != nil {
		return asked, "", err
	}
	id := answer.GetVolume().GetVolumeId()
	if err := w.publishAs(ctx, id, w.second(), capability()); err != nil {
		return asked, "", err
	}
	if err := w.fileIsThere(w.second()); err != nil {
		return asked, "", err
	}
	now, err := os.ReadFile(filepath.Join(w.target(), "greeting.txt"))
	if err == nil && string(now) != later {
		err = fmt.Errorf("the volume itself holds %q", now)
	}
	return asked, fmt.Sprintf("%s, %s, holds %q; the volume itself holds %q", id, mib(answer.GetVolume().GetCapacityBytes()), greeting, now), err
}

func (w *walk) removeCopies(ctx context.Context) (asked, happened string, err error) {
	asked = "unpublish and delete what was restored, DeleteSnapshot"
	if err := w.unpublishFrom(ctx, restoredName, w.second()); err != nil {
		return asked, "", err
	}
	stop := w.show.clock()
	_, err = w.controller().DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: restoredName})
	if err == nil {
		_, err = w.controller().DeleteSnapshot(ctx, &csi.DeleteSnapshotRequest{SnapshotId: w.snapshotID})
	}
	stop()
	return asked, "both wait in the trash", err
}

// block makes a raw block volume; it has the byte more that shows that its size is exact to the sector.
func (w *walk) block(ctx context.Context) (asked, happened string, err error) {
	asked = fmt.Sprintf("CreateVolume %s of %d bytes with access type block, NodePublishVolume at %s", blockName, size+1, w.device())
	stop := w.show.clock()
	answer, err := w.controller().CreateVolume(ctx, &csi.CreateVolumeRequest{
		Name:               blockName,
		CapacityRange:      &csi.CapacityRange{RequiredBytes: size + 1},
		VolumeCapabilities: []*csi.VolumeCapability{blockCapability()},
	})
	stop()
	if err != nil {
		return asked, "", err
	}
	if err := w.publishAs(ctx, answer.GetVolume().GetVolumeId(), w.device(), blockCapability()); err != nil {
		return asked, "", err
	}
	bytes, err := deviceSize(w.device())
	if err == nil && bytes != answer.GetVolume().GetCapacityBytes() {
		err = fmt.Errorf("the device has %d bytes, the volume %d", bytes, answer.GetVolume().GetCapacityBytes())
	}
	return asked, fmt.Sprintf("a device of %d bytes, whole sectors; on the disk it is %s", bytes, filepath.Join(w.pool, "volumes", blockName, "image")), err
}

func (w *walk) writeBlock(context.Context) (asked, happened string, err error) {
	asked = "some bytes to the device, and beyond its end"
	defer w.show.clock()()
	f, err := os.OpenFile(w.device(), os.O_RDWR, 0)
	if err != nil {
		return asked, "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.WriteAt([]byte(greeting), 0); err != nil {
		return asked, "", err
	}
	if err := f.Sync(); err != nil {
		return asked, "", err
	}
	kept := make([]byte, len(greeting))
	image, err := os.Open(filepath.Join(w.pool, "volumes", blockName, "image"))
	if err != nil {
		return asked, "", err
	}
	defer image.Close()
	if _, err := io.ReadFull(image, kept); err != nil || !bytes.Equal(kept, []byte(greeting)) {
		return asked, "", errors.Join(fmt.Errorf("the image begins with %q", kept), err)
	}
	_, beyond := f.WriteAt([]byte("x"), 2*size)
	if beyond == nil {
		return asked, "", errors.New("a write beyond the end is not refused")
	}
	return asked, fmt.Sprintf("the image has them; beyond the end: %v", beyond), nil
}

func (w *walk) removeBlock(ctx context.Context) (asked, happened string, err error) {
	asked = "NodeUnpublishVolume, DeleteVolume"
	if err := w.unpublishFrom(ctx, blockName, w.device()); err != nil {
		return asked, "", err
	}
	defer w.show.clock()()
	_, err = w.controller().DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: blockName})
	return asked, "the loop device is detached, the image is in the trash", err
}

// purgeAll empties the trash, so that the check at the end sees an empty pool.
func (w *walk) purgeAll(ctx context.Context) (string, error) {
	out, err := w.admin(ctx, "trash", "purge", "--all")
	return strings.TrimSpace(out), err
}

func deviceSize(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return f.Seek(0, io.SeekEnd)
}
