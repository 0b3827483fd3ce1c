package integration

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
)

func TestPublishShowsTheVolume(t *testing.T) {
	n := serve(t)
	id := n.volume("vol")
	target := n.mounted(id, "pod")
	must(t, os.WriteFile(filepath.Join(target, "file"), []byte("x"), 0o600))
	if _, err := os.Stat(filepath.Join(n.pool, "volumes/vol/data/file")); err != nil {
		t.Error(err)
	}
	n.unmounted(id, target)
	if _, err := os.Lstat(target); !os.IsNotExist(err) {
		t.Errorf("the target is left: %v", err)
	}
	if _, err := os.Stat(filepath.Join(n.pool, "volumes/vol/data/file")); err != nil {
		t.Error("the data went with the mount: ", err)
	}
}

func TestReadOnlyPublish(t *testing.T) {
	n := serve(t)
	id := n.volume("vol")
	writable := n.mounted(id, "writer")
	for name, change := range map[string]func(*csi.NodePublishVolumeRequest){
		"request":     readOnly,
		"access-mode": mode(csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY),
		"flag":        mode(csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER, "ro"),
	} {
		target := n.mounted(id, name, change)
		if err := os.WriteFile(filepath.Join(target, "file"), nil, 0o600); err == nil {
			t.Errorf("read-only by %s: could be written", name)
		}
	}
	must(t, os.WriteFile(filepath.Join(writable, "file"), nil, 0o600))
}

func TestMountFlags(t *testing.T) {
	n := serve(t)
	id := n.volume("vol")
	target := n.mounted(id, "pod", mode(csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER, "noexec,nosuid", "nodev", "noatime"))
	var st unix.Statfs_t
	must(t, unix.Statfs(target, &st))
	const asked = unix.ST_NOEXEC | unix.ST_NOSUID | unix.ST_NODEV | unix.ST_NOATIME
	if st.Flags&asked != asked {
		t.Errorf("flags %#x lack some of %#x", st.Flags, asked)
	}
	for _, flag := range []string{"remount", "move", "loop", "uid=0", "context=x", "suid,bogus"} {
		want(t, n.publish(id, n.target("other"), mode(csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER, flag)),
			codes.InvalidArgument, "not allowed", "noexec")
	}
}

// A repeat in another way is refused, and the mount stays as it was.
func TestPublishInAnotherWay(t *testing.T) {
	n := serve(t)
	id, other := n.volume("vol"), n.volume("other")
	target := n.mounted(id, "pod")
	want(t, n.publish(id, target, readOnly), codes.AlreadyExists, "rw")
	want(t, n.publish(id, target, mode(csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER, "noexec")), codes.AlreadyExists)
	want(t, n.publish(other, target), codes.AlreadyExists)
	must(t, n.publish(id, target))
	if got := layers(t, target); got != 1 {
		t.Errorf("%d layers", got)
	}
	must(t, os.WriteFile(filepath.Join(target, "file"), nil, 0o600))
}

func TestForeignMountOnTheTarget(t *testing.T) {
	n := serve(t)
	id := n.volume("vol")
	target := n.target("pod")
	must(t, os.Mkdir(target, 0o755))
	must(t, unix.Mount("tmpfs", target, "tmpfs", 0, "size=1m"))
	want(t, n.publish(id, target), codes.AlreadyExists, "something else")
	if got := layers(t, target); got != 1 {
		t.Errorf("%d layers", got)
	}
	n.unmounted(id, target) // whatever is there
	if got := layers(t, target); got != 0 {
		t.Errorf("%d layers", got)
	}
	must(t, n.publish(id, target))
}

func TestStackedMountsAreAllTaken(t *testing.T) {
	n := serve(t)
	id := n.volume("vol")
	target := n.mounted(id, "pod")
	data := filepath.Join(n.pool, "volumes/vol/data")
	must(t, unix.Mount(data, target, "", unix.MS_BIND, ""))
	must(t, unix.Mount("tmpfs", target, "tmpfs", 0, "size=1m"))
	if got := layers(t, target); got != 3 {
		t.Fatalf("%d layers", got)
	}
	n.unmounted(id, target)
	if got := layers(t, target); got != 0 {
		t.Errorf("%d layers are left", got)
	}
	if _, err := os.Lstat(target); !os.IsNotExist(err) {
		t.Errorf("the target is left: %v", err)
	}
}

func TestStaleTargetDirectory(t *testing.T) {
	n := serve(t)
	id := n.volume("vol")
	target := n.target("pod")
	must(t, os.Mkdir(target, 0o755))
	must(t, n.publish(id, target))
	n.unmounted(id, target)
	n.unmounted(id, target)
	n.unmounted(id, n.target("never-published"))
	must(t, n.unpublish(id, filepath.Join(n.daemon.KubeletDir(), "no/such/parent/mount")))
	want(t, n.publish(id, filepath.Join(n.daemon.KubeletDir(), "no/such/parent/mount")), codes.FailedPrecondition, "parent")
}

func TestBusyMountStays(t *testing.T) {
	n := serve(t)
	id := n.volume("vol")
	target := n.mounted(id, "pod")
	f, err := os.Create(filepath.Join(target, "file"))
	must(t, err)
	want(t, n.unpublish(id, target), codes.FailedPrecondition, "in use")
	if got := layers(t, target); got != 1 {
		t.Errorf("%d layers", got)
	}
	want(t, n.remove(id), codes.FailedPrecondition, target)
	must(t, f.Close())
	n.unmounted(id, target)
}

func TestSingleWriter(t *testing.T) {
	for _, m := range []csi.VolumeCapability_AccessMode_Mode{
		csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER,
		csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER,
	} {
		t.Run(m.String(), func(t *testing.T) {
			n := serve(t)
			id := n.volume("vol")
			first := n.mounted(id, "first", mode(m))
			second := n.target("second")
			must(t, n.publish(id, first, mode(m))) // a repeat is no second one
			want(t, n.publish(id, second, mode(m)), codes.FailedPrecondition, first)
			want(t, n.publish(id, second), codes.FailedPrecondition, first)

			// Somebody takes the mount off behind the daemon's back: the kernel is the truth.
			must(t, unix.Unmount(first, 0))
			must(t, n.publish(id, second, mode(m)))
			want(t, n.publish(id, first, mode(m)), codes.FailedPrecondition, second)
			n.unmounted(id, second)
			must(t, n.publish(id, first, mode(m)))
		})
	}
}

func TestManyWriters(t *testing.T) {
	n := serve(t)
	id := n.volume("vol")
	first, second := n.mounted(id, "first"), n.mounted(id, "second")
	must(t, os.WriteFile(filepath.Join(first, "file"), []byte("x"), 0o600))
	if _, err := os.Stat(filepath.Join(second, "file")); err != nil {
		t.Error(err)
	}
	want(t, n.publish(id, n.target("third"), mode(csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER)), codes.FailedPrecondition)
}

func TestDeleteOfAPublishedVolume(t *testing.T) {
	n := serve(t)
	id := n.volume("vol")
	target := n.mounted(id, "pod")
	want(t, n.remove(id), codes.FailedPrecondition, target, "unpublish")
	must(t, unix.Unmount(target, 0)) // behind the daemon's back
	must(t, n.remove(id))
	must(t, n.remove(id))
}

func TestRestartUnderAMountedVolume(t *testing.T) {
	for _, how := range []string{"stopped", "killed"} {
		for _, kind := range []string{"ext4", "btrfs"} {
			t.Run(how+" "+kind, func(t *testing.T) {
				t.Parallel()
				n := serveOn(t, kind)
				id := n.volume("vol")
				target := n.mounted(id, "pod")
				f, err := os.Create(filepath.Join(target, "file"))
				must(t, err)
				defer f.Close()
				if how == "killed" {
					must(t, n.daemon.Kill())
				}
				n.restart()
				if _, err := f.WriteString("still here"); err != nil {
					t.Errorf("the pod lost its file: %v", err)
				}
				want(t, n.remove(id), codes.FailedPrecondition, target)
				must(t, n.publish(id, target))
				if got := layers(t, target); got != 1 {
					t.Errorf("%d layers", got)
				}
				want(t, n.publish(id, target, readOnly), codes.AlreadyExists)
				must(t, f.Close())
				n.unmounted(id, target)
				must(t, n.remove(id))
			})
		}
	}
}

func TestUnpublishAfterARestart(t *testing.T) {
	n := serve(t)
	id := n.volume("vol")
	target := n.mounted(id, "pod")
	n.restart()
	n.unmounted(id, target)
	must(t, n.remove(id))
}

// A target is refused inside a volume, but not where a volume once was.
func TestATargetBelowAnother(t *testing.T) {
	n := serve(t)
	outer, inner := n.volume("outer"), n.volume("inner")
	target := n.mounted(outer, "pod")
	below := filepath.Join(target, "below")
	want(t, n.publish(inner, below), codes.InvalidArgument, "inside", target)
	must(t, unix.Unmount(target, 0)) // behind the daemon's back
	must(t, n.publish(inner, below))
	n.unmounted(inner, below)
	n.unmounted(outer, target)
	must(t, n.remove(outer))
}

// What an older daemon, or a pod, has mounted inside a volume can be taken off.
func TestUnpublishInsideAVolume(t *testing.T) {
	n := serve(t)
	outer, inner := n.volume("outer"), n.volume("inner")
	target := n.mounted(outer, "pod")
	other := n.mounted(inner, "other")
	below := filepath.Join(target, "below")
	must(t, os.Mkdir(below, 0o755))
	must(t, unix.Mount(other, below, "", unix.MS_BIND, ""))
	n.restart()
	n.unmounted(inner, below)
	n.unmounted(inner, other)
	n.unmounted(outer, target)
	must(t, n.remove(inner))
}
