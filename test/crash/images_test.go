package crash

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/loop"
)

// imageOperations are those of volumes that are images: raw block devices, and one with a filesystem.
func imageOperations() []operation {
	return []operation{{
		name: "create block", steps: building(),
		run:        (*world).createBlock,
		effect:     func(_ *world, v view, id string) { v.Volumes[id] = blockOf(small, "") },
		repeatable: true,
	}, {
		name: "create image", steps: building(), // its content is mkfs's to choose
		run:        func(w *world, id string) error { return w.createImage(id) },
		effect:     func(_ *world, v view, id string) { v.Volumes[id] = blockOf(imageBytes, "") },
		repeatable: true,
	}, {
		name: "expand block", steps: []string{"expand.recorded", "expand.durable", "expand.applied"},
		prepare:    writtenBlock,
		run:        func(w *world, id string) error { return w.expandBlock(id, large) },
		effect:     func(_ *world, v view, id string) { v.Volumes[id] = blockOf(large, id) },
		repeatable: true, passing: []string{"GrowthPending"},
	}, {
		name: "publish block", steps: []string{"publish.made", "publish.mounted"},
		prepare:    writtenBlock,
		run:        (*world).publishBlock,
		effect:     func(_ *world, v view, id string) { v.Mounts[id] = 1 },
		repeatable: true,
	}, {
		name: "unpublish block", steps: []string{"unpublish.unmounted", "unpublish.cleared"},
		prepare:    func(w *world, id string) error { return errors.Join(writtenBlock(w, id), w.publishBlock(id)) },
		run:        (*world).unpublish,
		effect:     unmounts,
		repeatable: true,
	}, {
		name: "publish image", steps: []string{"publish.made", "publish.mounted"},
		prepare:    func(w *world, id string) error { return w.createImage(id) },
		run:        (*world).publishImage,
		effect:     func(_ *world, v view, id string) { v.Mounts[id] = 1 },
		repeatable: true,
	}, {
		name: "snapshot block", steps: building(),
		prepare: writtenBlock,
		run:     func(w *world, id string) error { return w.snapshot(ofID(id), id) },
		effect: func(_ *world, v view, id string) {
			v.Snapshots[ofID(id)] = seen{Bytes: small, Of: id, Files: imageOf(small, id)}
		},
		repeatable: true,
	}, {
		name: "group", steps: building(),
		prepare:    twoBlocks,
		run:        func(w *world, id string) error { return w.group(id) },
		effect:     groupEffect,
		repeatable: true,
	}, {
		name: "delete group", steps: []string{"delete.renamed", "delete.durable"},
		prepare: grouped,
		run:     (*world).deleteGroup,
		effect: func(_ *world, v view, id string) {
			maps.DeleteFunc(v.Snapshots, func(_ string, s seen) bool { return s.Of == id || s.Of == copyID(id) })
			delete(v.Groups, groupID(id))
			v.Trash[groupID(id)]++
		},
		repeatable: true,
	}, {
		name: "restore group", steps: []string{"restore.renamed", "restore.durable"},
		prepare: func(w *world, id string) error { return errors.Join(grouped(w, id), w.deleteGroup(id)) },
		run:     func(w *world, id string) error { return w.restore(groupID(id)) },
		effect: func(w *world, v view, id string) {
			delete(v.Trash, groupID(id))
			groupEffect(w, v, id)
		},
	}, {
		name: "purge group", steps: []string{"purge.marked", "purge.removed"},
		prepare: func(w *world, id string) error { return errors.Join(grouped(w, id), w.deleteGroup(id)) },
		run:     func(w *world, _ string) error { return w.purge() },
		repeat:  func(w *world, _ string) error { return w.purged() },
		effect:  func(_ *world, v view, id string) { delete(v.Trash, groupID(id)) },
	}}
}

// imageBytes is the size of a volume with a filesystem of its own.
const imageBytes = 16 * mebibyte

func blockOf(bytes int64, head string) seen {
	return seen{Bytes: bytes, Enforced: true, Files: imageOf(bytes, head)}
}

func groupID(id string) string { return id + "-g" }

func groupEffect(_ *world, v view, id string) {
	v.Groups[groupID(id)] = 2
	for _, of := range []string{id, copyID(id)} {
		v.Snapshots[groupID(id)+"."+of] = seen{Bytes: small, Of: of, Files: imageOf(small, of)}
	}
}

func twoBlocks(w *world, id string) error {
	return errors.Join(writtenBlock(w, id), writtenBlock(w, copyID(id)))
}

func grouped(w *world, id string) error { return errors.Join(twoBlocks(w, id), w.group(id)) }

func (w *world) groups() csi.GroupControllerClient {
	return csi.NewGroupControllerClient(w.daemon.Conn())
}

func (w *world) group(id string) error {
	_, err := call(w.groups().CreateVolumeGroupSnapshot, &csi.CreateVolumeGroupSnapshotRequest{
		Name: groupID(id), SourceVolumeIds: []string{id, copyID(id)},
	})
	return err
}

func (w *world) deleteGroup(id string) error {
	_, err := call(w.groups().DeleteVolumeGroupSnapshot, &csi.DeleteVolumeGroupSnapshotRequest{GroupSnapshotId: groupID(id)})
	return err
}

func rawCapability() *csi.VolumeCapability {
	c := capability()
	c.AccessType = &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}
	return c
}

func (w *world) createBlock(id string) error {
	_, err := call(w.controller().CreateVolume, &csi.CreateVolumeRequest{
		Name: id, CapacityRange: &csi.CapacityRange{RequiredBytes: small}, VolumeCapabilities: []*csi.VolumeCapability{rawCapability()},
	})
	return err
}

func (w *world) createImage(id string) error {
	_, err := call(w.controller().CreateVolume, &csi.CreateVolumeRequest{
		Name: id, CapacityRange: &csi.CapacityRange{RequiredBytes: imageBytes}, VolumeCapabilities: []*csi.VolumeCapability{capability()},
		Parameters: map[string]string{"engine": "image"},
	})
	return err
}

func (w *world) expandBlock(id string, bytes int64) error {
	_, err := call(w.controller().ControllerExpandVolume, &csi.ControllerExpandVolumeRequest{
		VolumeId: id, CapacityRange: &csi.CapacityRange{RequiredBytes: bytes}, VolumeCapability: rawCapability(),
	})
	return err
}

func (w *world) publishAs(id string, c *csi.VolumeCapability) error {
	if err := os.MkdirAll(filepath.Dir(w.target(id)), 0o755); err != nil { // as the kubelet does
		return err
	}
	_, err := call(w.node().NodePublishVolume, &csi.NodePublishVolumeRequest{VolumeId: id, TargetPath: w.target(id), VolumeCapability: c})
	return err
}

func (w *world) publishBlock(id string) error { return w.publishAs(id, rawCapability()) }
func (w *world) publishImage(id string) error { return w.publishAs(id, capability()) }

// writtenBlock makes a raw block volume that begins with its id.
func writtenBlock(w *world, id string) error {
	if err := errors.Join(w.createBlock(id), w.publishBlock(id)); err != nil {
		return err
	}
	f, err := os.OpenFile(w.target(id), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(id), 0)
	return errors.Join(err, f.Sync(), f.Close(), w.unpublish(id))
}

// devices counts the loop devices of each volume of the pool; one whose image is not a volume's is an error.
func (w *world) devices() (map[string]int, error) {
	var st unix.Stat_t
	if err := unix.Stat(w.pool, &st); err != nil {
		return nil, err
	}
	ids := map[uint64]string{}
	for _, id := range names(filepath.Join(w.pool, "volumes")) {
		var image unix.Stat_t
		if unix.Stat(filepath.Join(w.item(id), "image"), &image) == nil {
			ids[image.Ino] = id
		}
	}
	all, err := loop.Backed()
	out := map[string]int{}
	for _, b := range all {
		if b.Dev != st.Dev || b.Autoclear { // taken off, and waits for whoever else looks at it
			continue
		}
		id, ok := ids[b.Ino]
		if !ok {
			return nil, errors.Join(err, fmt.Errorf("loop%d is attached to %s", b.Number, b.File))
		}
		out[id]++
	}
	return out, err
}

// detachAll takes off the devices of volumes that were published at the end.
func (w *world) detachAll() error {
	var errs []error
	for _, id := range names(filepath.Join(w.pool, "volumes")) {
		image, err := os.Open(filepath.Join(w.item(id), "image"))
		if err != nil {
			continue
		}
		found, err := loop.Find(image)
		errs = append(errs, err)
		for _, d := range found {
			lingering, err := loop.Detach(image, d)
			if lingering {
				err = errors.Join(err, fmt.Errorf("%s is in use", d.Name()))
			}
			errs = append(errs, err)
		}
		errs = append(errs, image.Close())
	}
	return errors.Join(errs...)
}
