//go:build vm

package vm

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/admin"
	"github.com/hostvol/hostvol/pkg/host/hosttest"
	"github.com/hostvol/hostvol/test/daemon"
)

const mib = 1 << 20

// node is a daemon with a pool on a filesystem of its own.
type node struct {
	t      *testing.T
	kind   string
	mount  string
	pool   string
	daemon *daemon.Daemon
	admin  *admin.Client
}

// each runs a test on both filesystems with project quotas.
func each(t *testing.T, test func(t *testing.T, n *node)) {
	for _, kind := range []string{"xfs", "ext4"} {
		t.Run(kind, func(t *testing.T) { test(t, newNode(t, kind)) })
	}
}

func newNode(t *testing.T, kind string) *node {
	t.Helper()
	return newNodeOf(t, kind, 400)
}

// newNodeOf makes one whose filesystem has that size.
func newNodeOf(t *testing.T, kind string, sizeMiB int) *node {
	t.Helper()
	n := &node{t: t, kind: kind}
	if kind == "xfs" {
		n.mount = hosttest.XFS(t, sizeMiB, "prjquota")
	} else {
		n.mount = hosttest.Ext4(t, sizeMiB, "prjquota", "-b", "4096", "-m", "0", "-O", "quota,project", "-E", "quotatype=prjquota")
	}
	n.pool = filepath.Join(n.mount, "pool")
	dir, err := os.MkdirTemp("", "v") // not t.TempDir: a socket's path is short
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	must(t, os.Chmod(dir, 0o755)) // a pod's user comes through
	config := filepath.Join(dir, "config.yaml")
	must(t, os.WriteFile(config, fmt.Appendf(nil, "runDir: %s/run\npools: [{name: vm, path: %s, create: true}]\ntrash: {retention: 1h}\n", dir, n.pool), 0o600))
	n.daemon, err = daemon.Start(t.Context(), daemon.Options{Dir: dir, Args: []string{"--config", config}})
	must(t, err)
	t.Cleanup(func() {
		must(t, n.daemon.Stop())
		if t.Failed() {
			t.Log(n.daemon.Log())
		}
	})
	n.admin = admin.NewClient(strings.TrimPrefix(n.daemon.AdminEndpoint(), "unix://"))
	return n
}

func (n *node) restart() { n.must(n.daemon.Restart(n.t.Context())) }

func (n *node) must(err error) {
	n.t.Helper()
	must(n.t, err)
}

func (n *node) controller() csi.ControllerClient { return csi.NewControllerClient(n.daemon.Conn()) }
func (n *node) csi() csi.NodeClient              { return csi.NewNodeClient(n.daemon.Conn()) }

func capability() *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
	}
}

// create makes a volume, with content unless from is nil, whose size must be enforced.
func (n *node) create(id string, bytes int64, from *csi.VolumeContentSource) {
	n.t.Helper()
	_, err := n.controller().CreateVolume(n.t.Context(), &csi.CreateVolumeRequest{
		Name: id, CapacityRange: &csi.CapacityRange{RequiredBytes: bytes}, Parameters: map[string]string{"enforce": "required"},
		VolumeCapabilities: []*csi.VolumeCapability{capability()}, VolumeContentSource: from,
	})
	n.must(err)
}

func (n *node) delete(id string) {
	n.t.Helper()
	_, err := n.controller().DeleteVolume(n.t.Context(), &csi.DeleteVolumeRequest{VolumeId: id})
	n.must(err)
}

func (n *node) expand(id string, bytes int64) {
	n.t.Helper()
	_, err := n.controller().ControllerExpandVolume(n.t.Context(), &csi.ControllerExpandVolumeRequest{
		VolumeId: id, CapacityRange: &csi.CapacityRange{RequiredBytes: bytes}, VolumeCapability: capability(),
	})
	n.must(err)
}

// publish mounts a volume until the test ends, and gives where.
func (n *node) publish(id string) (target string) {
	n.t.Helper()
	return n.publishAs(id, capability())
}

func (n *node) publishAs(id string, use *csi.VolumeCapability) (target string) {
	n.t.Helper()
	target = filepath.Join(n.daemon.KubeletDir(), "pods", id)
	n.must(os.MkdirAll(filepath.Dir(target), 0o755))
	_, err := n.csi().NodePublishVolume(n.t.Context(), &csi.NodePublishVolumeRequest{VolumeId: id, TargetPath: target, VolumeCapability: use})
	n.must(err)
	n.t.Cleanup(func() { _ = unix.Unmount(target, unix.UMOUNT_NOFOLLOW) })
	return target
}

func (n *node) unpublish(id, target string) {
	n.t.Helper()
	_, err := n.csi().NodeUnpublishVolume(n.t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: id, TargetPath: target})
	n.must(err)
}

// purge removes all that was deleted, and waits until it is gone.
func (n *node) purge() {
	n.t.Helper()
	_, err := n.admin.Purge(n.t.Context(), "")
	n.must(err)
	n.until("the trash is empty", func() bool {
		left, err := n.admin.Trash(n.t.Context())
		return err == nil && len(left) == 0
	})
}

func (n *node) until(what string, done func() bool) {
	n.t.Helper()
	for end := time.Now().Add(30 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			n.t.Fatalf("not after 30 s: %s", what)
		}
	}
}

// check is `hostvol check`: what it prints, and whether it has found nothing.
func (n *node) check() (out string, clean bool) {
	n.t.Helper()
	out, err := n.daemon.Admin(n.t.Context(), "check")
	return out, err == nil
}

// record is the part of a record that these tests know, apart from the product's type.
type record struct {
	Bytes    int64  `json:"bytes"`
	Enforced bool   `json:"enforced"`
	Project  uint32 `json:"project"`
	Snapshot struct {
		Method string `json:"method"`
	} `json:"snapshot"`
}

// record reads that of volumes/ID or snapshots/ID.
func (n *node) record(path string) (r record) {
	n.t.Helper()
	buffer := make([]byte, 4096)
	size, err := unix.Lgetxattr(filepath.Join(n.pool, path), "trusted.hostvol", buffer)
	n.must(err)
	n.must(json.Unmarshal(buffer[:size], &r))
	return r
}

// size is what df shows of a directory, in bytes.
func (n *node) size(path string) (total, free int64) {
	n.t.Helper()
	var s unix.Statfs_t
	n.must(unix.Statfs(path, &s))
	return int64(s.Blocks) * s.Bsize, int64(s.Bfree) * s.Bsize
}
