//go:build power

package power

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/btrfs"
)

// class is a kind of volumes in the load. Everything that a test knows of how a volume is made is here.
type class struct {
	name string
	// volumes of it that each client has, in order to keep the number of publications at a cut small.
	volumes    int
	parameters map[string]string
	capability *csi.VolumeCapability
	// base is what its sizes have more than those of others, in bytes: a filesystem has a smallest one.
	base int64
	// busy: snapshots are made while it is published.
	busy bool
	// grouped: the first two volumes of a client are snapshotted together.
	grouped bool
	// put writes one of the four texts of a volume at its target: durable on return, and all or nothing in a cut.
	put func(target, name, text string) error
	// get reads them.
	get func(target string) (map[string]string, error)
	// limit is the size that the kernel enforces on what is published at the target.
	limit func(filesystem, target string) (int64, error)
}

func classes() []class {
	return []class{
		{name: "directory", volumes: 2, capability: mounted(""), put: putFile, get: getFiles, limit: directoryLimit},
		{name: "block", volumes: 2, capability: raw(), grouped: true, put: putBlock, get: getBlocks, limit: deviceLimit},
		{
			name: "ext4", volumes: 1, capability: mounted("ext4"), parameters: map[string]string{"engine": "image"},
			base: 7 * mebibyte, busy: true, put: putFile, get: getFiles, limit: ext4Limit,
		},
		// Of an XFS some 70 MiB are written at its making, its log: a copy of that takes longer than it may be frozen here.
		{
			name: "xfs", volumes: 1, capability: mounted("xfs"), parameters: map[string]string{"engine": "image"},
			base: 319 * mebibyte, put: putFile, get: getFiles, limit: xfsLimit,
		},
	}
}

func mounted(filesystem string) *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: filesystem}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
	}
}

func raw() *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
	}
}

// textNames are the texts that a volume can hold.
func textNames() []string { return []string{"t0", "t1", "t2", "t3"} }

// spread makes a text long enough to need a block; gather undoes that, and tells a damaged one.
func spread(text string) string { return strings.Repeat(text+"\n", 4000/(len(text)+1)) }

func gather(data string) string {
	text, _, _ := strings.Cut(data, "\n")
	if data != spread(text) {
		return fmt.Sprintf("damaged: %d bytes, %.40q", len(data), data)
	}
	return text
}

const unfinished = ".new"

func putFile(target, name, text string) error {
	path := filepath.Join(target, name)
	if err := writeSynced(path+unfinished, []byte(spread(text))); err != nil {
		return err
	}
	if err := os.Rename(path+unfinished, path); err != nil {
		return err
	}
	dir, err := os.Open(target)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func writeSynced(path string, data []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

func getFiles(target string) (map[string]string, error) {
	entries, err := os.ReadDir(target)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), unfinished) || e.Name() == "lost+found" {
			continue
		}
		data, err := os.ReadFile(filepath.Join(target, e.Name()))
		if err != nil {
			return nil, err
		}
		out[e.Name()] = gather(string(data))
	}
	return out, nil
}

// directoryLimit: on btrfs the qgroup's, elsewhere what statfs shows, which is the project's limit.
func directoryLimit(filesystem, target string) (int64, error) {
	dir, err := os.Open(target)
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	if filesystem == "btrfs" {
		u, err := btrfs.ReadUsage(int(dir.Fd()))
		return u.Limit, err
	}
	var s unix.Statfs_t
	err = unix.Fstatfs(int(dir.Fd()), &s)
	return int64(s.Blocks) * s.Bsize, err
}
