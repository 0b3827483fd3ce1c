package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
)

// hostileIDs are no ids of volumes.
var hostileIDs = []struct{ name, id string }{
	{"parent", "../x"},
	{"two up", "../../x"},
	{"dots", ".."},
	{"dot", "."},
	{"root", "/"},
	{"absolute", "/etc"},
	{"slash", "a/b"},
	{"trailing slash", "vol/"},
	{"into the volume", "vol/data"},
	{"NUL", "a\x00b"},
	{"newline", "a\nb"},
	{"128 bytes", strings.Repeat("A", 128)},
	{"128 escapes", strings.Repeat("\x01", 128)},
	{"4 KiB", strings.Repeat("a", 4096)},
	{"UTF-8", "vol-größe-卷"},
	{"upper case", "VOL"},
	{"option", "-rf"},
	{"hidden", ".hidden"},
	{"blank", " "},
	{"staging", "../staging"},
	{"trash entry", "vol@1700000000000000000"},
	{"purging", "vol@1700000000000000000.purging"},
	{"quarantine", "volumes/Vol"},
}

func TestHostileHandles(t *testing.T) {
	n := serve(t)
	canary(t)
	n.volume("vol")
	target := n.target("pod")
	unchanged(t, n.pool)
	for _, c := range hostileIDs {
		t.Run(c.name, func(t *testing.T) {
			want(t, n.remove(c.id), codes.OK)
			_, err := n.get(c.id)
			want(t, err, codes.NotFound)
			want(t, n.removeSnapshot(c.id), codes.OK)
			_, err = n.getSnapshot(c.id)
			want(t, err, codes.NotFound)
			for _, filter := range []*csi.ListSnapshotsRequest{{SnapshotId: c.id}, {SourceVolumeId: c.id}} {
				if handles, _, err := n.listSnapshots(filter); err != nil || len(handles) > 0 {
					t.Errorf("%v %v", handles, err)
				}
			}
			_, err = n.cut("snap", c.id)
			want(t, err, codes.NotFound)
			for _, from := range []func(*csi.CreateVolumeRequest){fromSnapshot(c.id), fromVolume(c.id)} {
				_, err = n.create("new", from)
				want(t, err, codes.NotFound)
			}
			want(t, n.expand(c.id, 32*mib), codes.NotFound)
			want(t, n.publish(c.id, target), codes.NotFound)
			want(t, n.unpublish(c.id, target), codes.OK)
			_, err = n.stats(c.id, target)
			want(t, err, codes.NotFound)
			_, err = n.kubelet.NodeStageVolume(n.ctx(), &csi.NodeStageVolumeRequest{VolumeId: c.id, StagingTargetPath: target, VolumeCapability: many()})
			want(t, err, codes.NotFound)
			_, err = n.kubelet.NodeUnstageVolume(n.ctx(), &csi.NodeUnstageVolumeRequest{VolumeId: c.id, StagingTargetPath: target})
			want(t, err, codes.OK)
			_, err = n.kubelet.NodeExpandVolume(n.ctx(), &csi.NodeExpandVolumeRequest{VolumeId: c.id, VolumePath: target})
			want(t, err, codes.NotFound)
			_, err = n.controller.ControllerPublishVolume(n.ctx(), &csi.ControllerPublishVolumeRequest{VolumeId: c.id, NodeId: "node-a", VolumeCapability: many()})
			want(t, err, codes.NotFound)
			_, err = n.controller.ValidateVolumeCapabilities(n.ctx(), &csi.ValidateVolumeCapabilitiesRequest{VolumeId: c.id, VolumeCapabilities: []*csi.VolumeCapability{many()}})
			want(t, err, codes.NotFound)
			_, err = n.controller.ControllerGetVolumeHealth(n.ctx(), &csi.ControllerGetVolumeHealthRequest{VolumeId: c.id})
			want(t, err, codes.NotFound)
		})
	}
}

// So does a snapshot's name.
func TestHostileSnapshotNames(t *testing.T) {
	n := serve(t)
	canary(t)
	n.volume("vol")
	handles := map[string]bool{}
	for _, c := range hostileIDs {
		s, err := n.cut(c.id, "vol")
		if len(c.id) > 1024 { // CSI allows 128 bytes
			want(t, err, codes.InvalidArgument, "bytes")
			continue
		}
		must(t, err)
		if again, err := n.cut(c.id, "vol"); err != nil || again.GetSnapshotId() != s.GetSnapshotId() || handles[s.GetSnapshotId()] {
			t.Errorf("%s: %v, then %v %v", c.name, s, again, err)
		}
		handles[s.GetSnapshotId()] = true
		_, err = n.cut(s.GetSnapshotId(), "vol")
		want(t, err, codes.AlreadyExists, "another name")
	}
	n.restart()
	all, _, err := n.listSnapshots(&csi.ListSnapshotsRequest{})
	if err != nil || len(all) != len(handles) {
		t.Errorf("%d snapshots after a restart, want %d: %v", len(all), len(handles), err)
	}
}

// A name that cannot be a file's gets an id that can, always the same one, and never somebody else's.
func TestHostileNames(t *testing.T) {
	n := serve(t)
	canary(t)
	ids := map[string]string{}
	for _, c := range hostileIDs {
		t.Run(c.name, func(t *testing.T) {
			first, err := n.create(c.id)
			if len(c.id) > 1024 { // CSI allows 128 bytes
				want(t, err, codes.InvalidArgument, "bytes")
				return
			}
			must(t, err)
			id := first.GetVolumeId()
			if other, taken := ids[id]; taken {
				t.Errorf("%q is also the id of %q", id, other)
			}
			ids[id] = c.id
			if strings.ContainsAny(id, "/\x00@ \n") || len(id) > 119 || strings.HasPrefix(id, ".") || strings.HasPrefix(id, "-") {
				t.Errorf("%q is no id", id)
			}
			if _, err := os.Stat(filepath.Join(n.pool, "volumes", id, "data")); err != nil {
				t.Error(err)
			}
			again, err := n.create(c.id)
			must(t, err)
			if again.GetVolumeId() != id {
				t.Errorf("again: %q, before %q", again.GetVolumeId(), id)
			}
			// Who asks for the id as a name asks for another volume, and does not get this one.
			_, err = n.create(id)
			want(t, err, codes.AlreadyExists, "another name")
		})
	}
	n.restart()
	if got := len(n.all()); got != len(ids) {
		t.Errorf("%d volumes after a restart, want %d", got, len(ids))
	}
	for id := range ids {
		must(t, n.remove(id))
	}
	n.empty()
}

func TestForeignHandle(t *testing.T) {
	n := serve(t)
	n.volume("vol")
	want(t, n.remove("vol@deadbeef"), codes.NotFound, "another node")
	_, err := n.get("vol@deadbeef")
	want(t, err, codes.NotFound)
	want(t, n.publish("vol@deadbeef", n.target("pod")), codes.NotFound)
	if _, err := n.get("vol"); err != nil {
		t.Error(err)
	}
}

// A target that is not a clean path below the kubelet's directory, reached without links, is refused by every
// call that has one, and not touched.
func TestHostileTargets(t *testing.T) {
	n := serve(t)
	out := canary(t)
	id := n.volume("vol")
	kubelet := n.daemon.KubeletDir()
	published := n.mounted(id, "published")
	must(t, os.Mkdir(filepath.Join(published, "empty"), 0o755))
	must(t, os.WriteFile(filepath.Join(published, "nothing"), nil, 0o600))
	unchanged(t, published)
	must(t, os.Symlink(out, filepath.Join(kubelet, "out")))
	must(t, os.Symlink("pods", filepath.Join(kubelet, "inside")))
	n.target("pod")

	for name, target := range map[string]string{
		"relative":             "pods/pod/mount",
		"dot":                  ".",
		"unclean":              kubelet + "/pods/../pods/pod/mount",
		"double slash":         kubelet + "//pods/pod/mount",
		"trailing slash":       kubelet + "/pods/pod/mount/",
		"outside":              out + "/empty",
		"outside file":         out + "/nothing",
		"up and out":           kubelet + "/../../empty",
		"root":                 "/root",
		"etc":                  "/etc",
		"a directory beside":   kubelet + "-other/mount",
		"the kubelet's itself": kubelet,
		"the pool":             n.pool,
		"a volume in the pool": filepath.Join(n.pool, "volumes/vol/data"),
		"through a link out":   kubelet + "/out/empty",
		"a file by a link":     kubelet + "/out/nothing",
		"through a link in":    kubelet + "/inside/pod/mount",
		"NUL":                  kubelet + "/pods/pod/mount\x00x",
		"in a volume":          published + "/empty",
		"a file in a volume":   published + "/nothing",
		"new in a volume":      published + "/new",
	} {
		t.Run(name, func(t *testing.T) {
			want(t, n.publish(id, target), codes.InvalidArgument)
			want(t, n.unpublish(id, target), codes.InvalidArgument)
			_, err := n.kubelet.NodeUnstageVolume(n.ctx(), &csi.NodeUnstageVolumeRequest{VolumeId: id, StagingTargetPath: target})
			want(t, err, codes.InvalidArgument)
			if _, err := n.stats(id, target); err == nil {
				t.Error("stats of it were told")
			}
			if got := layers(t, target); got != 0 {
				t.Errorf("%d layers", got)
			}
		})
	}
}

// What is no empty directory is not mounted on, and not removed.
func TestTargetsOfTheWrongKind(t *testing.T) {
	n := serve(t)
	out := canary(t)
	id := n.volume("vol")
	for name, make := range map[string]func(path string) error{
		"link":             func(path string) error { return os.Symlink(out+"/empty", path) },
		"link to etc":      func(path string) error { return os.Symlink("/etc", path) },
		"dangling link":    func(path string) error { return os.Symlink("/nonexistent", path) },
		"file":             func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) },
		"FIFO":             func(path string) error { return unix.Mkfifo(path, 0o600) },
		"device":           func(path string) error { return unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))) },
		"socket":           func(path string) error { return unix.Mknod(path, unix.S_IFSOCK|0o600, 0) },
		"directory in use": func(path string) error { return os.MkdirAll(path+"/something", 0o755) },
	} {
		t.Run(name, func(t *testing.T) {
			target := n.target(name)
			must(t, make(target))
			before := fingerprint(t, filepath.Dir(target))
			want(t, n.publish(id, target), codes.FailedPrecondition)
			want(t, n.unpublish(id, target), codes.FailedPrecondition)
			if got := layers(t, target); got != 0 {
				t.Errorf("%d layers", got)
			}
			if after := fingerprint(t, filepath.Dir(target)); after != before {
				t.Errorf("changed from\n%sto\n%s", before, after)
			}
			// Nobody waits for somebody at the other end.
			must(t, n.publish(id, n.target("other")))
			n.unmounted(id, n.target("other"))
		})
	}
}

// Somebody with access to the disk has put links into the pool while the daemon was down.
func TestLinksPlantedInThePool(t *testing.T) {
	n := serve(t)
	n.faulty = true
	out := canary(t)
	n.volume("good")
	n.volume("hollow")
	n.stop()
	must(t, os.Symlink("/etc", filepath.Join(n.pool, "volumes/etc")))
	must(t, os.Symlink(out, filepath.Join(n.pool, "volumes/out")))
	must(t, os.Symlink("good", filepath.Join(n.pool, "volumes/alias")))
	must(t, os.Remove(filepath.Join(n.pool, "volumes/hollow/data")))
	must(t, os.Symlink(out, filepath.Join(n.pool, "volumes/hollow/data")))
	must(t, os.Symlink("/etc", filepath.Join(n.pool, "trash/etc@1700000000000000000")))
	must(t, os.Symlink(out, filepath.Join(n.pool, "trash/out@1700000000000000000.purging")))
	must(t, os.Symlink(out, filepath.Join(n.pool, "staging/out")))
	n.start()

	for _, id := range []string{"etc", "out", "alias"} {
		_, err := n.get(id)
		want(t, err, codes.FailedPrecondition, "quarantined")
		want(t, n.publish(id, n.target("pod")), codes.FailedPrecondition)
		want(t, n.expand(id, 32*mib), codes.FailedPrecondition)
		want(t, n.remove(id), codes.FailedPrecondition)
		_, err = n.create(id)
		want(t, err, codes.FailedPrecondition)
	}
	want(t, n.publish("hollow", n.target("pod")), codes.FailedPrecondition)
	must(t, n.remove("hollow"))
	if text := n.admin("trash", "list"); strings.Contains(text, "etc@") || strings.Contains(text, "out@") {
		t.Errorf("a link is an entry of the trash: %s", text)
	}
	n.admin("trash", "purge", "--all")
	must(t, n.publish("good", n.target("pod")))
	for _, link := range []string{"volumes/etc", "volumes/out", "volumes/alias", "trash/etc@1700000000000000000"} {
		if _, err := os.Lstat(filepath.Join(n.pool, link)); err != nil {
			t.Errorf("what was not understood is gone: %v", err)
		}
	}
}

// The same while the daemon runs.
func TestLinksPlantedUnderTheDaemon(t *testing.T) {
	n := serve(t, "--config", writeConfig(t, "trash: {retention: 1h}"))
	n.faulty = true
	out := canary(t)
	for _, id := range []string{"item", "data", "trash"} {
		n.volume(id)
	}
	must(t, n.remove("trash"))
	entry := n.trash()[0].Name

	must(t, os.Rename(filepath.Join(n.pool, "volumes/item"), filepath.Join(n.dir, "item")))
	must(t, os.Symlink(out, filepath.Join(n.pool, "volumes/item")))
	must(t, os.Remove(filepath.Join(n.pool, "volumes/data/data")))
	must(t, os.Symlink("/etc", filepath.Join(n.pool, "volumes/data/data")))
	must(t, os.Rename(filepath.Join(n.pool, "trash", entry), filepath.Join(n.dir, "trash")))
	must(t, os.Symlink(out, filepath.Join(n.pool, "trash", entry)))

	for _, id := range []string{"item", "data"} {
		if n.publish(id, n.target("pod")) == nil {
			t.Errorf("%s was published", id)
		}
		if n.expand(id, 32*mib) == nil && id == "item" {
			t.Errorf("%s was expanded", id)
		}
		if _, err := n.stats(id, n.target("pod")); err == nil {
			t.Errorf("stats of %s were told", id)
		}
		if len(n.reasons(id)) == 0 {
			t.Errorf("%s is healthy", id)
		}
	}
	_ = n.remove("item")
	_ = n.remove("data")
	_, _ = n.daemon.Admin(n.ctx(), "trash", "purge", "--all")
}
