package integration

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/test/daemon"
)

// What is acknowledged is on the disk: its content, its record and its name. The disk is a file on another file
// system, which is cloned at the moment of the answer. So the clone has what the file system had written by then and
// nothing that was in memory only, as after a power cut, but for a disk that loses what it has taken.
func TestAPowerCutAfterTheAnswer(t *testing.T) {
	for _, kind := range []string{"btrfs", "xfs", "ext4"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			n := newNode(t)
			below := filepath.Join(n.filesystem("xfs", 8192), "below")
			must(t, os.Mkdir(below, 0o755))
			disk, cleanup, err := daemon.LoopFS(below, kind, 700)
			must(t, err)
			t.Cleanup(func() { _ = cleanup() }) // the test takes it away before
			n.pool = filepath.Join(disk, "pool")
			n.start("--config", writeConfig(t, "pools: [{name: default, path: "+n.pool+", create: true}]\ntrash: {retention: 1h}"))
			image := filepath.Join(below, kind+".img")
			cutAt := func(name string) { cloneFile(t, image, filepath.Join(below, name)) }

			want := map[string]string{}
			n.volume("vol", bytes(64*mib))
			for i := range 200 { // not on the disk when the snapshot is asked for
				name, text := fmt.Sprintf("file-%d", i), fmt.Sprint("text ", i)
				n.put("vol", name, text)
				want[name] = text
			}
			n.snapshot("snap", "vol")
			cutAt("snapshot")
			n.volume("restored", bytes(80*mib), fromSnapshot("snap"))
			cutAt("restore")
			n.put("vol", "late", "late")
			n.volume("clone", bytes(64*mib), fromVolume("vol"))
			cutAt("clone")
			must(t, n.removeSnapshot("snap"))
			cutAt("delete")
			n.admin("trash", "restore", "snap")
			cutAt("undelete")
			must(t, n.daemon.Kill())
			must(t, cleanup())
			later := maps.Clone(want)
			later["late"] = "late"

			for _, c := range []struct {
				at    string
				files map[string]map[string]string // of the items that must be there
				gone  string
			}{
				{"snapshot", map[string]map[string]string{"snapshots/snap": want}, "volumes/restored"},
				{"restore", map[string]map[string]string{"snapshots/snap": want, "volumes/restored": want}, "volumes/clone"},
				{"clone", map[string]map[string]string{"snapshots/snap": want, "volumes/restored": want, "volumes/clone": later}, "snapshots/none"},
				{"delete", map[string]map[string]string{"volumes/restored": want, "volumes/clone": later}, "snapshots/snap"},
				{"undelete", map[string]map[string]string{"snapshots/snap": want, "volumes/clone": later}, "snapshots/none"},
			} {
				n.afterPowerCut(filepath.Join(below, c.at), disk, kind, func() {
					for item, files := range c.files {
						got := readAll(t, filepath.Join(n.pool, item, "data"))
						if same := len(files) - differing(files, got); same != len(files) || len(got) != same {
							t.Errorf("cut after the answer to %s: %s has %d files, %d of the %d as they were", c.at, item, len(got), same, len(files))
						}
					}
					if _, err := os.Stat(filepath.Join(n.pool, c.gone)); err == nil {
						t.Errorf("cut after the answer to %s: %s is there", c.at, c.gone)
					}
				})
			}
		})
	}
}

// afterPowerCut mounts a disk, has the daemon recover the pool on it and check it, and looks.
func (n *node) afterPowerCut(image, at, kind string, look func()) {
	n.t.Helper()
	options := "loop"
	if kind == "xfs" {
		options += ",nouuid"
	}
	must(n.t, os.MkdirAll(at, 0o755))
	run(n.t, "mount", "-o", options, image, at)
	defer run(n.t, "umount", at)
	must(n.t, n.tryStart())
	look()
	n.admin("check")
	n.stop()
}

func cloneFile(t *testing.T, from, to string) {
	t.Helper()
	src, err := os.Open(from)
	must(t, err)
	defer src.Close()
	dst, err := os.Create(to)
	must(t, err)
	must(t, unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())))
	must(t, dst.Close())
}

// differing counts the files that are not the same.
func differing(want, got map[string]string) int {
	n := 0
	for name, text := range want {
		if other, ok := got[name]; !ok || other != text {
			n++
		}
	}
	return n
}

// readAll reads the files of one directory.
func readAll(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Error(err)
	}
	out := map[string]string{}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		must(t, err)
		out[e.Name()] = string(text)
	}
	return out
}
