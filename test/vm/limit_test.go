//go:build vm

package vm

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/hosttest"
	"github.com/hostvol/hostvol/pkg/host/quota"
)

// bites verifies that a container's root can fill the volume up to its size and not beyond.
func (n *node) bites(target string, size int64) {
	n.t.Helper()
	file := filepath.Join(target, "filler")
	written, err := bound().write(n.t, file, 2*size)
	if !errors.Is(err, unix.EDQUOT) && !errors.Is(err, unix.ENOSPC) {
		n.t.Errorf("%d bytes into a volume of %d: %v", written, size, err)
	}
	if written > size || written < size-mib {
		n.t.Errorf("the limit of %d was met at %d (%v)", size, written, err)
	}
	if total, _ := n.size(target); total != size {
		n.t.Errorf("df shows a size of %d, not %d", total, size)
	}
	n.must(os.Remove(file))
	n.until("what was removed is not counted", func() bool {
		_, free := n.size(target)
		return free > size-mib
	})
}

func TestTheSizeIsEnforced(t *testing.T) {
	each(t, func(t *testing.T, n *node) {
		pools, err := n.admin.Pools(t.Context())
		if err != nil || len(pools) != 1 || pools[0].Enforcement != n.kind+"-project" {
			t.Fatalf("%+v, %v", pools, err)
		}
		n.create("vol", 16*mib, nil)
		target := n.publish("vol")
		n.bites(target, 16*mib)
		if out, clean := n.check(); !clean {
			t.Error(out)
		}

		_, err = bound().write(t, filepath.Join(target, "file"), 4*mib)
		must(t, err)
		unix.Sync()
		answer, err := n.csi().NodeGetVolumeStats(t.Context(), &csi.NodeGetVolumeStatsRequest{VolumeId: "vol", VolumePath: target})
		must(t, err)
		bytes := answer.GetUsage()[0]
		if bytes.GetTotal() != 16*mib || bytes.GetUsed() < 4*mib || bytes.GetUsed() > 5*mib || bytes.GetAvailable() != bytes.GetTotal()-bytes.GetUsed() {
			t.Errorf("stats: %v", bytes)
		}
	})
}

// TestRootOfTheHost shows whom a limit does not bind: on ext4 root with CAP_SYS_RESOURCE, on XFS nobody.
func TestRootOfTheHost(t *testing.T) {
	each(t, func(t *testing.T, n *node) {
		n.create("vol", 8*mib, nil)
		written, err := root().write(t, filepath.Join(n.publish("vol"), "file"), 16*mib)
		switch n.kind {
		case "ext4":
			if err != nil || written != 16*mib {
				t.Errorf("%d bytes, %v: ext4 has become stricter, tell the docs", written, err)
			}
			t.Log("ext4: root with CAP_SYS_RESOURCE has written 16 MiB into a volume of 8 MiB")
		case "xfs":
			if err == nil || written > 8*mib {
				t.Errorf("%d bytes, %v", written, err)
			}
			t.Logf("xfs: root was refused after %d bytes: %v", written, err)
		}
	})
}

func TestGrowth(t *testing.T) {
	each(t, func(t *testing.T, n *node) {
		n.create("vol", 8*mib, nil)
		target := n.publish("vol")
		file := filepath.Join(target, "file")
		if _, err := bound().write(t, file, 10*mib); err == nil {
			t.Error("10 MiB went into a volume of 8 MiB")
		}
		n.expand("vol", 24*mib)
		if written, err := bound().write(t, file, 10*mib); err != nil {
			t.Errorf("after the growth, %d bytes: %v", written, err)
		}
		n.must(os.Remove(file))
		n.bites(target, 24*mib)
	})
}

// TestRestart: a limit that has got lost is found, and set again at the next start.
func TestRestart(t *testing.T) {
	each(t, func(t *testing.T, n *node) {
		n.create("vol", 8*mib, nil)
		target := n.publish("vol")
		n.restart()
		n.bites(target, 8*mib)

		q, err := quota.Open(hosttest.Open(t, n.mount))
		must(t, err)
		defer q.Close()
		must(t, q.SetLimit(n.record("volumes/vol").Project, 64*mib))
		if out, clean := n.check(); clean || !strings.Contains(out, "LimitMissing") {
			t.Errorf("check does not find another limit: %s", out)
		}
		n.restart()
		n.bites(target, 8*mib)
		if out, clean := n.check(); !clean {
			t.Error(out)
		}
	})
}

// TestOwnerLeavesTheProject: who owns a file can take it out of the project in the host's user namespace, and check
// finds it. In another namespace the kernel refuses it.
func TestOwnerLeavesTheProject(t *testing.T) {
	each(t, func(t *testing.T, n *node) {
		n.create("vol", 16*mib, nil)
		target := n.publish("vol")
		n.must(os.Mkdir(filepath.Join(target, "own"), 0o755))
		n.must(os.Chown(filepath.Join(target, "own"), 1000, 1000))
		file := filepath.Join(target, "own", "file")
		user(1000).run(t, "sh", "-c", "echo x >"+file)
		if out, clean := n.check(); !clean {
			t.Fatalf("before: %s", out)
		}
		if out, err := user(1000).try("unshare", "--user", "--map-root-user", "chattr", "-p", "0", file); err == nil {
			t.Errorf("a file was taken out of its project in another user namespace: %s", out)
		} else {
			t.Log(err)
		}
		if out, clean := n.check(); !clean {
			t.Fatalf("before: %s", out)
		}
		user(1000).run(t, "chattr", "-p", "0", file)
		out, clean := n.check()
		if clean || !strings.Contains(out, "FilesOutsideProject") || !strings.Contains(out, "own/file") {
			t.Errorf("check does not find it: %s", out)
		}
		t.Log(out)
	})
}
