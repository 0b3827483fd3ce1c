package distributed

import (
	"strings"
	"testing"
	"time"

	"github.com/hostvol/hostvol/test/e2e/cluster"
)

// A raw block volume is a device of exactly its size. It keeps its bytes when its
// pod goes, grows under a pod, and leaves no loop device behind, neither the
// driver's nor the kubelet's.
func TestBlock(t *testing.T) {
	s := begin(t)
	s.Claim("raw", "32Mi", cluster.AsBlock)
	s.Pod("writer", "", cluster.WithDevice("raw", "/dev/raw"))
	node := s.Ready("writer")
	pv := s.Bound("raw", time.Minute)
	if got := s.In("writer", "blockdev --getsize64 /dev/raw"); got != "33554432" {
		t.Errorf("the device has %s bytes", got)
	}
	if out, err := s.TryIn("writer", "dd if=/dev/zero of=/dev/raw bs=1M count=33 conv=fsync"); err == nil || !strings.Contains(out, "No space left") {
		t.Errorf("33 MiB into 32 MiB: %v: %s", err, out)
	}
	sum := s.In("writer", `dd if=/dev/urandom of=/tmp/sent bs=1M count=8 2>/dev/null
		dd if=/tmp/sent of=/dev/raw bs=1M seek=24 conv=fsync 2>/dev/null && sha256sum </tmp/sent`)
	t.Logf("in use: %s", strings.Join(s.Devices(node, pv.Name), "; "))
	if len(s.Devices(node, pv.Name)) < 2 {
		t.Errorf("the driver's device and the kubelet's lock upon it are not both there")
	}
	s.DeletePod("writer")
	s.Detached(node, pv.Name)

	s.Pod("reader", "", cluster.WithDevice("raw", "/dev/raw"))
	s.Ready("reader")
	if got := s.In("reader", "dd if=/dev/raw bs=1M skip=24 2>/dev/null | sha256sum"); got != sum {
		t.Errorf("the last 8 MiB are %s, written was %s", got, sum)
	}
	s.Grow("raw", "64Mi")
	s.Capacity("raw", "64Mi", 2*time.Minute)
	if got := s.In("reader", "blockdev --getsize64 /dev/raw"); got != "67108864" {
		t.Errorf("grown to 64Mi, the device has %s bytes", got)
	}
	s.DeletePod("reader")
	s.DeleteClaim("raw")
	s.VolumeGone(pv.Name, time.Minute)
	s.Detached(node, pv.Name)
}

// filesystems are the classes of volumes that have one of their own, each with a
// size that it can be made in.
var filesystems = map[string]string{"ext4": "64Mi", "xfs": "320Mi"}

// A volume with a filesystem of its own has the one that its class names, and an
// end; its files outlive the pod.
func TestFilesystemOfItsOwn(t *testing.T) {
	for kind, size := range filesystems {
		t.Run(kind, func(t *testing.T) {
			s := begin(t)
			s.Claim("data", size, cluster.OfClass("hostvol-e2e-"+kind))
			s.Pod("writer", "data", cluster.OfGroup(1000, 2000))
			node := s.Ready("writer")
			pv := s.Bound("data", time.Minute)
			if got := s.In("writer", `awk '$2 == "/data" { print $3 }' /proc/mounts`); got != kind {
				t.Errorf("it is mounted as %s", got)
			}
			s.In("writer", "echo precious >/data/file && sync")
			if got := s.In("writer", "stat -c '%u %g' /data/file && stat -c %g /data"); got != "1000 2000\n2000" {
				t.Errorf("owner and group of the file, group of the volume: %q", got)
			}
			if out, err := s.TryIn("writer", "dd if=/dev/zero of=/data/big bs=1M count=400 conv=fsync"); err == nil || !strings.Contains(out, "No space left") {
				t.Errorf("400 MiB into %s: %v: %s", size, err, out)
			}
			s.DeletePod("writer")
			s.Detached(node, pv.Name)
			s.Pod("reader", "data", cluster.OfGroup(1000, 2000))
			s.Ready("reader")
			if got := s.In("reader", "cat /data/file && rm /data/big && echo more >>/data/file && cat /data/file"); got != "precious\nprecious\nmore" {
				t.Errorf("the next pod reads %q", got)
			}
			s.DeletePod("reader")
			s.DeleteClaim("data")
			s.VolumeGone(pv.Name, time.Minute)
			s.Detached(node, pv.Name)
		})
	}
}

// counting writes numbers, one in a line, each flushed, until it is told to end.
const counting = `trap exit TERM
n=0
while :; do
	n=$((n + 1))
	{ echo $n >>/data/numbers && sync /data/numbers; } || echo "write $n" >>/tmp/errors
	echo $n >/tmp/count
	sleep 0.02
done`

func noErrors(s *cluster.Story, pod string) {
	s.Helper()
	if errors := s.In(pod, "head -n 3 /tmp/errors 2>/dev/null || true"); errors != "" {
		s.Errorf("pod %s met errors: %s", pod, errors)
	}
}

// An XFS grows while its pod writes to it. (An ext4 does too, where the driver has
// CAP_SYS_RESOURCE, which a container on the test's machine cannot have.)
func TestGrowthOfXFS(t *testing.T) {
	s := begin(t)
	s.Claim("data", "320Mi", cluster.OfClass("hostvol-e2e-xfs"))
	s.Pod("writer", "data", cluster.Running(counting))
	s.Ready("writer")
	blocks := "stat -f -c '%b %S' /data"
	before := s.In("writer", blocks)
	s.Grow("data", "480Mi")
	s.Capacity("data", "480Mi", 2*time.Minute)
	s.In("writer", "dd if=/dev/zero of=/data/big bs=1M count=350 conv=fsync")
	t.Logf("blocks and their size: %s, then %s", before, s.In("writer", blocks))
	noErrors(s, "writer")
}

// A snapshot of a volume with its own filesystem is of one instant, while its pod
// writes: the restored one has every number up to the last, and at least those
// that were flushed before.
func TestSnapshotUnderWriter(t *testing.T) {
	for kind, size := range filesystems {
		t.Run(kind, func(t *testing.T) {
			s := begin(t)
			s.Claim("data", size, cluster.OfClass("hostvol-e2e-"+kind))
			s.Pod("writer", "data", cluster.OnNode("n2"), cluster.Running(counting))
			s.Ready("writer")
			least := s.Number("writer", "/tmp/count")
			s.Snapshot("cut", "data")
			s.SnapshotReady("cut")
			most := s.Number("writer", "/tmp/count") + 1 // the last one may not be noted yet
			noErrors(s, "writer")
			s.Claim("restored", size, cluster.OfClass("hostvol-e2e-"+kind), cluster.From("VolumeSnapshot", "cut"))
			s.Pod("reader", "restored", cluster.OnNode("n2"))
			s.Ready("reader")
			s.In("reader", "seq $(wc -l </data/numbers) | cmp - /data/numbers")
			s.In("reader", "wc -l </data/numbers >/tmp/count")
			if got := s.Number("reader", "/tmp/count"); got < least || got > most {
				t.Errorf("the restored volume has %d numbers, where it must have at least %d and at most %d", got, least, most)
			}
			s.In("reader", "echo more >>/data/numbers")
			s.DeletePod("reader")
			s.DeleteClaim("restored")
			s.DeleteSnapshot("cut")
		})
	}
}

// A raw block volume is cut while its pod has it, and restored as one.
func TestSnapshotOfBlock(t *testing.T) {
	s := begin(t)
	s.Claim("raw", "32Mi", cluster.AsBlock)
	s.Pod("writer", "", cluster.WithDevice("raw", "/dev/raw"), cluster.OnNode("n3"))
	s.Ready("writer")
	write := func(text string) { s.In("writer", "echo "+text+" | dd of=/dev/raw bs=512 conv=sync,fsync 2>/dev/null") }
	write("before")
	s.Snapshot("cut", "raw")
	s.SnapshotReady("cut")
	write("after")
	s.Claim("restored", "32Mi", cluster.AsBlock, cluster.From("VolumeSnapshot", "cut"))
	s.Pod("reader", "", cluster.WithDevice("restored", "/dev/raw"), cluster.OnNode("n3"))
	s.Ready("reader")
	if got := s.In("reader", "head -n 1 /dev/raw"); got != "before" {
		t.Errorf("the restored device holds %q", got)
	}
	s.DeletePod("reader")
	s.DeleteClaim("restored")
	s.DeleteSnapshot("cut")
}
