package disk_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/engine/disk"
	"github.com/hostvol/hostvol/pkg/engine/disk/loop"
	"github.com/hostvol/hostvol/pkg/engine/enginetest"
	"github.com/hostvol/hostvol/pkg/host/freeze"
	"github.com/hostvol/hostvol/pkg/host/hosttest"
	hostloop "github.com/hostvol/hostvol/pkg/host/loop"
	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// guardWord makes this binary the guard.
const guardWord = "freeze-guard"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == guardWord {
		if err := guard(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, "guard:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// The race detector makes a child wait a second before it exits.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		panic(err)
	}
	// Parallel tests mostly wait for the disk.
	if err := flag.Set("test.parallel", "12"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func guard(text string) error {
	limit, err := time.ParseDuration(text)
	if err != nil {
		return err
	}
	return freeze.Guard(limit, os.Stdin, os.Stdout)
}

func pools() map[string]func(t *testing.T) string {
	return map[string]func(t *testing.T) string{
		"ext4":  func(t *testing.T) string { return hosttest.Ext4(t, 8192, "") },
		"xfs":   func(t *testing.T) string { return hosttest.XFS(t, 8192, "") },
		"btrfs": func(t *testing.T) string { return hosttest.BtrfsNoQuota(t, 8192) },
	}
}

func TestConformance(t *testing.T) {
	for name, make := range pools() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			enginetest.Run(t, func(t *testing.T) enginetest.Setup { return setup(t, make(t)) })
		})
	}
}

func setup(t *testing.T, dir string) enginetest.Setup {
	root, err := safepath.OpenRoot(dir)
	must(t, err)
	t.Cleanup(func() { must(t, root.Close()) })
	must(t, root.Mkdir("staging", 0o700))
	staging, err := root.OpenDir("staging")
	must(t, err)
	t.Cleanup(func() { must(t, staging.Close()) })
	room, err := mount.OpenRoom(filepath.Join(t.TempDir(), "room"))
	must(t, err)
	t.Cleanup(func() { must(t, room.Close()) })
	return enginetest.Setup{
		Root: root,
		Open: func(t testing.TB, limit time.Duration) engine.Engine {
			b, err := loop.Open(loop.Options{Staging: staging})
			must(t, err)
			return disk.Open(disk.Options{Backing: b, Room: room, FreezeLimit: limit, Guard: []string{"/proc/self/exe", guardWord}})
		},
		Forms: []engine.Form{
			{Block: true}, {FSType: "ext4"}, {FSType: "xfs"}, {FSType: "btrfs"},
			{Block: true, Thick: true},
		},
		Refused: []engine.Form{{}, {Thick: true}, {FSType: "vfat"}, {Block: true, FSType: "ext4"}},
		Options: func(f engine.Form) []string {
			if f.Block {
				return nil
			}
			return []string{"lazytime"}
		},
		Lose: func(t testing.TB, item *safepath.Dir) { must(t, item.Unlink("image")) },
		Halves: map[string]func(testing.TB, *safepath.Dir, engine.Form){
			"an empty file": func(t testing.TB, item *safepath.Dir, _ engine.Form) { must(t, file(t, item).Close()) },
			"half a filesystem": func(t testing.TB, item *safepath.Dir, _ engine.Form) {
				f := file(t, item)
				must(t, f.Truncate(512<<20))
				_, err := f.WriteAt([]byte("half of it"), 1<<20)
				must(t, err)
				must(t, f.Close())
			},
			"attached": func(t testing.TB, item *safepath.Dir, _ engine.Form) {
				f := file(t, item)
				must(t, f.Truncate(512<<20))
				for range 2 {
					_, err := hostloop.Attach(t.Context(), f, hostloop.Options{})
					must(t, err)
				}
				must(t, f.Close())
			},
			"attached without a name": func(t testing.TB, item *safepath.Dir, _ engine.Form) {
				f := file(t, item)
				must(t, f.Truncate(1<<20))
				d, err := hostloop.Attach(t.Context(), f, hostloop.Options{})
				must(t, err)
				t.Cleanup(func() { // nobody but its opener knows of it
					_, err := hostloop.Detach(f, d)
					must(t, err)
					must(t, f.Close())
				})
				must(t, item.Unlink("image"))
			},
		},
	}
}

func file(t testing.TB, item *safepath.Dir) *os.File {
	t.Helper()
	f, err := item.Open("image", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	must(t, err)
	return f
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
