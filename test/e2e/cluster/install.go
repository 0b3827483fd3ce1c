package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Main installs the driver from a kustomization, runs the tests, and leaves it
// installed.
func Main(m *testing.M, kustomization string, c **Cluster) int {
	cluster, err := Open()
	if err == nil {
		*c = cluster
		err = Install(kustomization)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// Install applies a kustomization, given from the repository's root, and waits until the driver runs everywhere.
// A form of the driver that is not the one wanted goes first.
func Install(kustomization string) error {
	if err := removeOther(kustomization); err != nil {
		return err
	}
	form := "distributed"
	if single(kustomization) {
		form = "single"
	}
	if err := NoteForm(form); err != nil {
		return err
	}
	path := kustomization
	if !filepath.IsAbs(path) {
		path = filepath.Join(Root(), path)
	}
	steps := [][]string{
		{"apply", "-k", path},
		{"-n", System, "rollout", "status", "--timeout=120s", workload(kustomization)},
	}
	for _, args := range steps {
		if _, err := Kubectl(args...); err != nil {
			return err
		}
	}
	return nil
}

// workload is what a form runs as.
func workload(kustomization string) string {
	if single(kustomization) {
		return "statefulset/hostvol"
	}
	return "daemonset/hostvol"
}

func single(kustomization string) bool {
	for dir := kustomization; dir != "." && dir != "/"; dir = filepath.Dir(dir) {
		if filepath.Base(dir) == "single" {
			return true
		}
	}
	return false
}

// removeOther removes the form that the kustomization is not, and with it the
// CSIDriver object, parts of which cannot be changed.
func removeOther(kustomization string) error {
	other := "statefulset"
	if single(kustomization) {
		other = "daemonset"
	}
	if out, err := Kubectl("-n", System, "get", other, "hostvol", "--ignore-not-found", "-o", "name"); err != nil || out == "" {
		return err
	}
	return Uninstall()
}

// Uninstall removes the driver with all its objects. Its pods go first, and
// wholly: a part that still works must not find its rights gone.
func Uninstall() error {
	for _, args := range [][]string{
		{"-n", System, "delete", "daemonset,statefulset", "-l", "app.kubernetes.io/name=hostvol", "--cascade=foreground", "--timeout=120s"},
		{"delete", "csidriver,clusterrole,clusterrolebinding,storageclass", "-l", "app.kubernetes.io/name=hostvol"},
		{"delete", "namespace", System, "--ignore-not-found"},
	} {
		if _, err := Kubectl(args...); err != nil {
			return err
		}
	}
	return nil
}
