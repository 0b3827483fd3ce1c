package mount

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// What older kernels get is run here on a newer one, by calling it directly.

func dirs(t *testing.T) (base string, src, parent *safepath.Dir) {
	t.Helper()
	base = t.TempDir()
	for _, d := range []string{"pool/data", "kubelet/target"} {
		if err := os.MkdirAll(filepath.Join(base, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	open := func(name string) *safepath.Dir {
		d, err := safepath.OpenRoot(filepath.Join(base, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = d.Close() })
		return d
	}
	return base, open("pool/data"), open("kubelet")
}

func TestBindOldSetsTheFlags(t *testing.T) {
	_, src, parent := dirs(t)
	asked := Flags{ReadOnly: true, NoSUID: true, NoDev: true, NoAtime: true}
	if err := bindOld(src, parent, "target", asked); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = Unmount(parent, "target") })
	state, err := Look(parent, "target")
	if err != nil {
		t.Fatal(err)
	}
	want, err := OfDir(src).Effective(asked)
	if err != nil {
		t.Fatal(err)
	}
	if !state.Mounted || state.Flags != want {
		t.Fatalf("got %+v, want %+v", state, want)
	}
	if mounted, err := mountedOld(parent, "target"); err != nil || !mounted {
		t.Fatalf("mountedOld: %v, %v", mounted, err)
	}
	if mounted, err := mountedOld(parent, "."); err != nil || mounted {
		t.Fatalf("mountedOld of no mount point: %v, %v", mounted, err)
	}
}

// What a kernel before 6.15 gets: a room with walls. What a killed daemon has left in
// it goes, and nothing of it reaches the peers of the directory above.
func TestARoomWithWalls(t *testing.T) {
	base, _, parent := dirs(t)
	above := filepath.Join(base, "above")
	mustDo(t, os.Mkdir(above, 0o755), unix.Mount(above, above, "", unix.MS_BIND, ""), unix.Mount("", above, "", unix.MS_SHARED, ""))
	peer := filepath.Join(base, "peer")
	mustDo(t, os.Mkdir(peer, 0o755), unix.Mount(above, peer, "", unix.MS_BIND, ""))
	t.Cleanup(func() {
		_ = unix.Unmount(peer, unix.MNT_DETACH)
		_ = unix.Unmount(above, unix.MNT_DETACH)
	})
	var room *Room
	for range 2 { // the second finds what the first has left
		var err error
		room, err = openRoom(filepath.Join(above, "room"), true)
		mustDo(t, err)
		own, _, err := room.Own(filepath.Join(base, "pool"))
		mustDo(t, err)
		data, err := own.OpenDir("data")
		mustDo(t, err)
		mustDo(t, OfDir(data).Mount(parent, "target", Flags{}))
		n, err := Unmount(parent, "target")
		if n != 1 {
			t.Fatalf("%d, %v", n, err)
		}
		mustDo(t, data.Close(), own.Close())
	}
	if got := below(t, filepath.Join(above, "room")); got != 1 {
		t.Errorf("%d mounts are kept, of the last start there is one", got)
	}
	if got := below(t, filepath.Join(peer, "room")); got != 0 {
		t.Errorf("%d kept mounts are seen by a peer of the directory above", got)
	}
	mustDo(t, room.Close())
	if got := below(t, above); got != 0 {
		t.Errorf("%d mounts are left", got)
	}
}

// A kept mount outlives its targets, is cloned to others without their flags, and ends
// with its Close, in a copy of the mount namespace, too.
func TestKept(t *testing.T) {
	ways := []bool{true}
	if detached, err := clonesDetached("/"); detached { // since Linux 6.15
		ways = append(ways, false)
	} else {
		mustDo(t, err)
	}
	for _, attach := range ways {
		base, _, parent := dirs(t)
		room, err := openRoom(filepath.Join(base, "room"), attach)
		mustDo(t, err)
		src, err := Filesystem("tmpfs", "kept-by-test", false, nil)
		mustDo(t, err)
		kept, err := room.Keep(src)
		mustDo(t, err)
		publish := func() *Source {
			t.Helper()
			source, err := kept.Source()
			mustDo(t, err)
			mustDo(t, source.Mount(parent, "target", Flags{ReadOnly: true, NoExec: true}))
			return source
		}
		source := publish()
		inside := filepath.Join(parent.Name(), "target")
		table, err := Table()
		mustDo(t, err)
		at, _ := At(table, inside)
		again, err := Clone(at)
		mustDo(t, err)
		if flags, err := again.Effective(Flags{}); err != nil || flags != (Flags{}) {
			t.Errorf("a clone of a target has the flags %v: %v", flags, err)
		}
		mustDo(t, again.Close())
		if n, err := Unmount(parent, "target"); n != 1 {
			t.Fatalf("%d %v", n, err)
		}
		if _, err := Clone(at); err == nil {
			t.Error("a mount that is gone was cloned")
		}
		mustDo(t, source.Close())
		mustDo(t, publish().Close())
		if n, err := Unmount(parent, "target"); n != 1 {
			t.Fatalf("%d %v", n, err)
		}
		copied := exec.Command("unshare", "-m", "--propagation", "unchanged", "sh", "-c", "echo ready; read line; grep -c kept-by-test /proc/self/mountinfo; true")
		out, err := copied.StdoutPipe()
		mustDo(t, err)
		in, err := copied.StdinPipe()
		mustDo(t, err)
		mustDo(t, copied.Start())
		_, err = out.Read(make([]byte, 6))
		mustDo(t, err)
		mustDo(t, kept.Close())
		_, err = in.Write([]byte("\n"))
		mustDo(t, err)
		count := make([]byte, 1)
		_, err = out.Read(count)
		mustDo(t, err)
		if string(count) != "0" {
			t.Errorf("attach %t: a copy of the mount namespace has it still", attach)
		}
		mustDo(t, copied.Wait())
		mustDo(t, room.Close())
	}
}

// below counts the mounts below a path.
func below(t *testing.T, path string) (n int) {
	t.Helper()
	table, err := Table()
	mustDo(t, err)
	for _, e := range table {
		if Below(e.Point, path) {
			n++
		}
	}
	return n
}

func mustDo(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}
