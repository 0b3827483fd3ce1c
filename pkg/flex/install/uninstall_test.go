package install_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hostvol/hostvol/pkg/flex/install"
)

func all(o *install.Options) { o.Drivers = install.Drivers() }

func TestUninstall(t *testing.T) {
	dir := place(t)
	i := installer(t, dir, all)
	installed(t, i)
	events := watch(t, dir, filepath.Join(dir, "hostvol~local"))
	for n := range 2 {
		done, err := i.Uninstall(t.Context())
		must(t, err)
		for _, d := range done {
			if d.Removed != (n == 0) || d.Notes != nil {
				t.Errorf("%+v", d)
			}
		}
	}
	if got := entries(t, dir); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
	// The executable is unlinked, and before all else: by that the kubelet knows.
	if got := events(); len(got) == 0 || got[0] != "local" {
		t.Errorf("%q", got)
	}
}

// As long as a pod, or a device that is mounted for pods, has a volume of it, a
// driver stays; others, of names that are alike, have no part in it.
func TestUninstallWithVolumes(t *testing.T) {
	dir := place(t)
	kubelet := kubeletOf(dir)
	i := installer(t, dir)
	installed(t, i)
	volumes := map[string]bool{
		"pods/1-2/volumes/hostvol~local/data":                            true,
		"pods/1-2/volumes/hostvol~local/with a blank":                    true,
		"plugins/kubernetes.io/flexvolume/hostvol/local/mounts/pv":       true,
		"pods/1-2/volumes/hostvol~local2/data":                           false,
		"pods/1-2/volumes/hostvol~nfs/data":                              false,
		"pods/1-2/volumes/k8s~local/data":                                false,
		"plugins/kubernetes.io/flexvolume/hostvol/nfs/mounts/local":      false,
		"pods/1-2/volumes/kubernetes.io~csi/volumes/hostvol~local/mount": false,
		"plugins/kubernetes.io/csi/pods/1/volumes/hostvol~local/v":       false,
		"../other/pods/1-2/volumes/hostvol~local/not of this kubelet":    false,
	}
	for rel, counts := range volumes {
		target := filepath.Join(kubelet, rel)
		unmount := mounted(t, target)
		if !counts {
			continue
		}
		for _, j := range []*install.Installer{i, throughLink(t, dir)} {
			_, err := j.Uninstall(t.Context())
			if contains(t, err, target, "delete their pods"); !errors.Is(err, install.ErrMounted) {
				t.Error(err)
			}
		}
		whole(t, dir, "local", i.Program)
		unmount()
	}
	done, err := i.Uninstall(t.Context())
	if err != nil || !done[0].Removed {
		t.Errorf("%+v %v", done, err)
	}
	// With --force it goes nevertheless.
	installed(t, i)
	target := filepath.Join(kubelet, "pods/1-2/volumes/hostvol~local/data")
	mounted(t, target)
	if _, err := i.Uninstall(t.Context()); err == nil {
		t.Error("removed")
	}
	if done, err := installer(t, dir, forced).Uninstall(t.Context()); err != nil || !done[0].Removed {
		t.Errorf("%+v %v", done, err)
	}
}

// throughLink names the kubelet's directory by a symbolic link: the mount table has
// what it leads to.
func throughLink(t *testing.T, dir string) *install.Installer {
	t.Helper()
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(kubeletOf(dir), link))
	return installer(t, dir, func(o *install.Options) { o.KubeletDir = link })
}

// Without the kubelet's directory nothing is known of volumes.
func TestUninstallWithoutKubelet(t *testing.T) {
	dir := place(t)
	i := installer(t, dir)
	installed(t, i)
	must(t, os.RemoveAll(kubeletOf(dir)))
	_, err := i.Uninstall(t.Context())
	contains(t, err, "--kubelet-dir", "--force")
	whole(t, dir, "local", i.Program)
}

// Another's executable stays, and all of its own.
func TestUninstallForeign(t *testing.T) {
	dir := place(t)
	of := filepath.Join(dir, "hostvol~local")
	must(t, os.Mkdir(of, 0o755))
	must(t, os.WriteFile(filepath.Join(of, "local"), []byte(script), 0o755))
	must(t, os.Symlink("/etc", filepath.Join(dir, "hostvol~nfs")))
	must(t, os.MkdirAll(filepath.Join(dir, "hostvol~lvm/lvm"), 0o755))
	done, err := installer(t, dir, all, forced).Uninstall(t.Context())
	must(t, err)
	notes := ""
	for _, d := range done {
		if d.Removed {
			t.Errorf("%+v", d)
		}
		notes += strings.Join(d.Notes, "\n") + "\n"
	}
	contains(t, errors.New(notes), "hostvol~local: local", "hostvol~nfs is not a directory", "hostvol~lvm: lvm")
	if got := entries(t, dir); !slices.Equal(got, []string{"hostvol~local", "hostvol~lvm", "hostvol~nfs"}) {
		t.Errorf("%v", got)
	}
}

// What was replaced by force can be had back.
func TestUninstallTellsOfReplaced(t *testing.T) {
	dir := place(t)
	of := filepath.Join(dir, "hostvol~local")
	must(t, os.Mkdir(of, 0o755))
	must(t, os.WriteFile(filepath.Join(of, "local"), []byte(script), 0o755))
	i := installer(t, dir, forced)
	installed(t, i)
	done, err := i.Uninstall(t.Context())
	must(t, err)
	contains(t, errors.New(strings.Join(done[0].Notes, "\n")), ".local.replaced", "rename it to local")
	if got := entries(t, of); !slices.Equal(got, []string{".local.replaced"}) {
		t.Errorf("%v", got)
	}
}
