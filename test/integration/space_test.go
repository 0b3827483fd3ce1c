package integration

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	"github.com/hostvol/hostvol/pkg/host/errno"
)

// limited is the configuration of a node whose pool promises 100 MiB.
func limited(t *testing.T, n *node, more string) {
	t.Helper()
	n.start("--config", writeConfig(t, "pools: [{name: default, path: "+n.pool+", create: true, limit: 100Mi}]\n"+more))
}

func TestALedgerThatIsFull(t *testing.T) {
	n := newNode(t)
	limited(t, n, "")
	n.volume("a", bytes(60*mib))
	_, err := n.create("b", bytes(41*mib))
	want(t, err, codes.ResourceExhausted, "available")
	want(t, n.expand("a", 101*mib), codes.OutOfRange, "default")
	n.volume("b", bytes(40*mib))
	_, err = n.create("c", bytes(mib))
	want(t, err, codes.ResourceExhausted)
	want(t, n.expand("a", 61*mib), codes.OutOfRange, "available")
	n.volume("a", bytes(60*mib)) // what exists is told all the same
	if got := capacity(n); got != 0 {
		t.Errorf("capacity %d of a full pool", got)
	}
	must(t, n.remove("b"))
	eventually(t, waitPurge, func() string { return differ(capacity(n), int64(40*mib)) })
	must(t, n.expand("a", 100*mib))
}

func TestMoreThanThePoolCanEverHave(t *testing.T) {
	n := newNode(t)
	limited(t, n, "")
	_, err := n.create("huge", bytes(101*mib))
	want(t, err, codes.OutOfRange, "can ever hold")
	_, err = n.create("largest", bytes(1<<62))
	want(t, err, codes.OutOfRange)
	n.empty()
}

func TestSizes(t *testing.T) {
	n := serve(t)
	for _, c := range []struct {
		name            string
		required, limit int64
		code            codes.Code
		size            int64
	}{
		{"none asked", 0, 0, codes.OK, gib},
		{"limit only", 0, 64 * mib, codes.OK, 64 * mib},
		{"tiny", 1, 0, codes.OK, mib},
		{"odd", mib + 1, 0, codes.OK, mib + 1},
		{"exact", 8 * mib, 8 * mib, codes.OK, 8 * mib},
		{"limit below the least", 0, 1000, codes.OutOfRange, 0},
		{"limit below required", 8 * mib, 4 * mib, codes.OutOfRange, 0},
		{"negative", -1, 0, codes.InvalidArgument, 0},
		{"negative limit", 0, -1, codes.InvalidArgument, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, err := n.create(c.name, func(r *csi.CreateVolumeRequest) {
				r.CapacityRange = &csi.CapacityRange{RequiredBytes: c.required, LimitBytes: c.limit}
			})
			want(t, err, c.code)
			if err == nil && v.GetCapacityBytes() != c.size {
				t.Errorf("%d bytes, want %d", v.GetCapacityBytes(), c.size)
			}
		})
	}
}

func TestExpandNeverShrinks(t *testing.T) {
	n := serve(t)
	n.volume("vol", bytes(32*mib))
	must(t, n.expand("vol", 16*mib))
	if v, err := n.get("vol"); err != nil || v.GetCapacityBytes() != 32*mib {
		t.Errorf("%v %v", v, err)
	}
	_, err := n.controller.ControllerExpandVolume(n.ctx(), &csi.ControllerExpandVolumeRequest{
		VolumeId: "vol", CapacityRange: &csi.CapacityRange{RequiredBytes: mib, LimitBytes: 16 * mib},
	})
	want(t, err, codes.OutOfRange, "shrinks")
	n.volume("vol", bytes(32*mib))
	must(t, n.expand("vol", 64*mib))
	n.volume("vol", bytes(32*mib)) // a repeat asks for the size with which it was made
	_, err = n.create("vol", bytes(64*mib))
	want(t, err, codes.AlreadyExists)
}

// Somebody else has filled the disk.
func TestADiskThatIsFull(t *testing.T) {
	for _, kind := range []string{"ext4", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			n := newNode(t)
			n.pool = n.filesystem(kind, 768) // smaller, and ext4 has blocks of 1 KiB
			n.start("--pool", "default="+n.pool)
			n.volume("early", bytes(2*mib))
			filler, err := os.Create(filepath.Join(n.pool, "somebody-elses"))
			must(t, err)
			defer filler.Close()
			fill(t, filler)
			_, err = n.create("late", bytes(64*mib))
			want(t, err, codes.ResourceExhausted)
			eventually(t, waitPurge, func() string {
				if n.storage()["PoolFull"] == "" {
					return differ(n.storage(), "PoolFull")
				}
				return ""
			})
			n.restart() // on a full disk, too
			if how := n.poolState("default").Enforcement; (how != "") != (kind == "btrfs") {
				t.Errorf("enforced by %q", how)
			}
			target := n.mounted("early", "pod") // what is there can be used
			n.unmounted("early", target)
			must(t, n.remove("early"))

			must(t, filler.Truncate(0))
			unix.Sync()
			eventually(t, waitPurge, func() string {
				if _, err := n.create("late", bytes(64*mib)); err != nil {
					return err.Error()
				}
				return ""
			})
			if why := n.storage()["PoolFull"]; why != "" {
				t.Error(why)
			}
			must(t, filler.Close())
			must(t, os.Remove(filler.Name()))
		})
	}
}

// A disk that fills up is told of while there is time to act.
func TestADiskThatFillsUp(t *testing.T) {
	n := serveOn(t, "ext4")
	if found := n.storage(); len(found) != 0 {
		t.Fatalf("an empty disk: %v", found)
	}
	var st unix.Statfs_t
	must(t, unix.Statfs(n.pool, &st))
	filler, err := os.Create(filepath.Join(n.pool, "somebody-elses"))
	must(t, err)
	defer filler.Close()
	must(t, unix.Fallocate(int(filler.Fd()), 0, 0, int64(st.Blocks)*st.Bsize*90/100))
	if found := n.storage(); found["PoolNearlyFull"] == "" || found["PoolFull"] != "" {
		t.Errorf("nine tenths: %v", found)
	}
}

// fill writes until the disk is full.
func fill(t *testing.T, f *os.File) {
	t.Helper()
	for size := int64(64 * mib); size >= 4096; {
		info, err := f.Stat()
		must(t, err)
		switch err := unix.Fallocate(int(f.Fd()), 0, info.Size(), size); {
		case errno.NoSpace(err):
			size /= 2
		default:
			must(t, err)
		}
	}
}

func TestTheSpaceOfTrashIsNotGivenAway(t *testing.T) {
	n := newNode(t)
	limited(t, n, "trash: {retention: 1h}")
	n.volume("a", bytes(60*mib))
	target := n.mounted("a", "pod")
	must(t, os.WriteFile(filepath.Join(target, "file"), []byte("dear"), 0o600))
	n.unmounted("a", target)
	must(t, n.remove("a"))
	_, err := n.create("b", bytes(60*mib))
	want(t, err, codes.ResourceExhausted, "trash")
	n.admin("trash", "restore", "a")
	target = n.mounted("a", "pod")
	if text, err := os.ReadFile(filepath.Join(target, "file")); err != nil || string(text) != "dear" {
		t.Errorf("%q %v", text, err)
	}
	n.unmounted("a", target)
	must(t, n.remove("a"))
	n.admin("trash", "purge", "a")
	n.volume("b", bytes(60*mib))
}

func capacity(n *node) int64 {
	n.t.Helper()
	answer, err := n.controller.GetCapacity(n.ctx(), &csi.GetCapacityRequest{})
	must(n.t, err)
	if answer.GetMaximumVolumeSize().GetValue() != answer.GetAvailableCapacity() {
		n.t.Errorf("one pool: %v", answer)
	}
	return answer.GetAvailableCapacity()
}

func TestCapacity(t *testing.T) {
	n := newNode(t)
	limited(t, n, "")
	if got := capacity(n); got != 100*mib {
		t.Errorf("%d", got)
	}
	group := many()
	group.GetMount().VolumeMountGroup = "5"
	for name, r := range map[string]*csi.GetCapacityRequest{
		"another node":  {AccessibleTopology: &csi.Topology{Segments: map[string]string{"topology.hostvol.csi.io/node": "node-b"}}},
		"another pool":  {Parameters: map[string]string{"pool": "other"}},
		"enforced":      {Parameters: map[string]string{"enforce": "required"}},
		"a mount group": {VolumeCapabilities: []*csi.VolumeCapability{group}},
	} {
		answer, err := n.controller.GetCapacity(n.ctx(), r)
		if err != nil || answer.GetAvailableCapacity() != 0 {
			t.Errorf("%s: %v %v", name, answer, err)
		}
	}
	answer, err := n.controller.GetCapacity(n.ctx(), &csi.GetCapacityRequest{
		Parameters:         map[string]string{"pool": "default", "csi.storage.k8s.io/x": "y"},
		AccessibleTopology: &csi.Topology{Segments: map[string]string{"topology.hostvol.csi.io/node": "node-a"}},
	})
	if err != nil || answer.GetAvailableCapacity() != 100*mib || answer.GetMinimumVolumeSize().GetValue() != mib {
		t.Errorf("%v %v", answer, err)
	}
	// A wrong class must not look like a full node, or no pod would get so far as to be told.
	answer, err = n.controller.GetCapacity(n.ctx(), &csi.GetCapacityRequest{Parameters: map[string]string{"bogus": "x"}})
	if err != nil || answer.GetAvailableCapacity() != 100*mib {
		t.Errorf("%v %v", answer, err)
	}
}
