package install_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/flex/install"
	"github.com/hostvol/hostvol/pkg/flex/settings"
)

const script = "#!/bin/sh\necho '{\"status\":\"Success\"}'\n"

func forced(o *install.Options) { o.Force = true }

// What is not ours is not touched; with --force an executable is kept beside.
func TestForeign(t *testing.T) {
	for name, c := range map[string]struct {
		lay    func(dir, of string) error
		forced bool // whether --force helps
	}{
		"a script": {func(_, of string) error { return os.WriteFile(of+"/local", []byte(script), 0o755) }, true},
		"a link": {func(dir, of string) error {
			return errors.Join(os.WriteFile(dir+"/../other", []byte(script), 0o755), os.Symlink(dir+"/../other", of+"/local"))
		}, true},
		"a link to nothing":      {func(_, of string) error { return os.Symlink("/nowhere", of+"/local") }, true},
		"a pipe":                 {func(_, of string) error { return unix.Mkfifo(of+"/local", 0o600) }, true},
		"a directory":            {func(_, of string) error { return os.MkdirAll(of+"/local/x", 0o755) }, false},
		"settings: a directory":  {func(_, of string) error { return os.Mkdir(of+"/"+settings.File, 0o755) }, false},
		"another's directory":    {func(_, of string) error { return os.Chown(of, 1, 1) }, false},
		"directory is a link":    {func(dir, of string) error { return errors.Join(os.Remove(of), os.Symlink(dir+"/..", of)) }, false},
		"directory is a file":    {func(_, of string) error { return errors.Join(os.Remove(of), os.WriteFile(of, nil, 0o644)) }, false},
		"a link out of the tree": {func(_, of string) error { return errors.Join(os.Remove(of), os.Symlink("/etc", of)) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := place(t)
			of := filepath.Join(dir, "hostvol~local")
			must(t, os.Mkdir(of, 0o755))
			must(t, c.lay(dir, of))
			before := entries(t, filepath.Dir(of))
			_, err := installer(t, dir).Install(t.Context())
			if !errors.Is(err, install.ErrForeign) && !strings.Contains(err.Error(), "chown") {
				t.Fatal(err)
			}
			contains(t, err, "hostvol~local")
			if _, err := os.Lstat(filepath.Join(of, "local")); c.forced && err != nil {
				t.Error(err)
			}
			i := installer(t, dir, forced)
			_, err = i.Install(t.Context())
			if !c.forced {
				if err == nil {
					t.Error("forced")
				}
				if got := entries(t, dir); !slices.Equal(before, got) {
					t.Errorf("before %v, now %v", before, got)
				}
				return
			}
			must(t, err)
			kept := filepath.Join(of, ".local.replaced")
			if _, err := os.Lstat(kept); err != nil {
				t.Error(err)
			}
			must(t, errors.Join(os.Rename(kept, dir+"/../kept")))
			whole(t, dir, "local", i.Program)
		})
	}
}

// What --force has kept is never lost.
func TestKeptOnce(t *testing.T) {
	dir := place(t)
	of := filepath.Join(dir, "hostvol~local")
	must(t, os.Mkdir(of, 0o755))
	for n, text := range []string{"first", "second"} {
		must(t, os.RemoveAll(filepath.Join(of, "local")))
		must(t, os.WriteFile(filepath.Join(of, "local"), []byte(text), 0o755))
		_, err := installer(t, dir, forced).Install(t.Context())
		if n == 0 {
			must(t, err)
		} else {
			contains(t, err, "is kept from an earlier time")
		}
	}
	if text, err := os.ReadFile(filepath.Join(of, ".local.replaced")); err != nil || string(text) != "first" {
		t.Errorf("%q %v", text, err)
	}
	if text, err := os.ReadFile(filepath.Join(of, "local")); err != nil || string(text) != "second" {
		t.Errorf("%q %v", text, err)
	}
}

// What lies beside the executable is another's business.
func TestNeighbours(t *testing.T) {
	dir := place(t)
	i := installer(t, dir)
	installed(t, i)
	note := filepath.Join(dir, "hostvol~local", ".note")
	must(t, os.WriteFile(note, nil, 0o600))
	must(t, os.Mkdir(filepath.Join(dir, "k8s~nfs"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "k8s~nfs/nfs"), []byte(script), 0o755))
	installed(t, i)
	all, err := i.Uninstall(t.Context())
	must(t, err)
	if len(all) != 1 || !all[0].Removed || len(all[0].Notes) != 1 || !strings.Contains(all[0].Notes[0], ".note") {
		t.Errorf("%+v", all)
	}
	if got := entries(t, dir); !slices.Equal(got, []string{"hostvol~local", "k8s~nfs"}) {
		t.Errorf("%v", got)
	}
	must(t, os.Remove(note))
	if all, err := i.Uninstall(t.Context()); err != nil || !all[0].Removed {
		t.Errorf("%+v %v", all, err)
	}
	if got := entries(t, dir); !slices.Equal(got, []string{"k8s~nfs"}) {
		t.Errorf("%v", got)
	}
}
