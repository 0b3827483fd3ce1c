package directory_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/engine/directory"
	"github.com/hostvol/hostvol/pkg/engine/enginetest"
	"github.com/hostvol/hostvol/pkg/host/hosttest"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

func TestConformance(t *testing.T) {
	for _, c := range []struct {
		name, kind string
		make       func(t *testing.T) string
	}{
		{"ext4", "ext4", func(t *testing.T) string { return hosttest.Ext4(t, 1024, "") }},
		{"xfs", "xfs", func(t *testing.T) string { return hosttest.XFS(t, 1024, "") }},
		{"btrfs", "btrfs", func(t *testing.T) string { return hosttest.Btrfs(t, 2048) }},
		{"btrfs without quota", "btrfs", func(t *testing.T) string { return hosttest.BtrfsNoQuota(t, 2048) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			enginetest.Run(t, func(t *testing.T) enginetest.Setup { return setup(t, c.kind, c.make(t)) })
		})
	}
}

func setup(t *testing.T, kind, dir string) enginetest.Setup {
	root, err := safepath.OpenRoot(dir)
	must(t, err)
	t.Cleanup(func() { must(t, root.Close()) })
	must(t, root.Mkdir("staging", 0o700))
	staging, err := root.OpenDir("staging")
	must(t, err)
	t.Cleanup(func() { must(t, staging.Close()) })
	s := enginetest.Setup{
		Root: root,
		Open: func(t testing.TB, _ time.Duration) engine.Engine {
			e, err := directory.Open(directory.Options{Root: root, Staging: staging, Filesystem: kind, Projects: directory.NewProjects()})
			must(t, err)
			return e
		},
		Forms:   []engine.Form{{}},
		Refused: []engine.Form{{Block: true}, {FSType: kind}, {Thick: true}},
		Adopts:  true,
		Lose: func(t testing.TB, item *safepath.Dir) {
			must(t, item.Rename("data", root, filepath.Base(item.Name())+" lost"))
		},
		Halves: map[string]func(testing.TB, *safepath.Dir, engine.Form){
			"an empty directory": func(t testing.TB, item *safepath.Dir, _ engine.Form) { must(t, item.Mkdir("data", 0o700)) },
			"half a tree": func(t testing.TB, item *safepath.Dir, _ engine.Form) {
				for i := range 20 {
					at := filepath.Join(item.Name(), "data", fmt.Sprint(i), "deep")
					must(t, os.MkdirAll(at, 0o700))
					must(t, os.WriteFile(filepath.Join(at, "half"), []byte("of it"), 0o400))
				}
				must(t, os.Symlink("/", filepath.Join(item.Name(), "data/link")))
			},
		},
	}
	if kind != "btrfs" {
		return s
	}
	s.Nest = func(t testing.TB, dir string) {
		hosttest.Run(t, "btrfs", "subvolume", "create", filepath.Join(dir, "nested"))
	}
	s.Halves["an empty subvolume"] = func(t testing.TB, item *safepath.Dir, _ engine.Form) {
		hosttest.Run(t, "btrfs", "subvolume", "create", filepath.Join(item.Name(), "data"))
	}
	s.Halves["a sealed snapshot"] = func(t testing.TB, item *safepath.Dir, _ engine.Form) {
		at := filepath.Join(root.Name(), "origin of "+filepath.Base(item.Name()))
		hosttest.Run(t, "btrfs", "subvolume", "create", at)
		must(t, os.WriteFile(filepath.Join(at, "file"), []byte("text"), 0o600))
		hosttest.Run(t, "btrfs", "subvolume", "snapshot", "-r", at, filepath.Join(item.Name(), "data"))
		hosttest.Run(t, "btrfs", "subvolume", "delete", at)
	}
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
