//go:build vm

package vm

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/hostvol/hostvol/pkg/admin"
	"github.com/hostvol/hostvol/pkg/host/hosttest"
	"github.com/hostvol/hostvol/pkg/host/quota"
)

// TestAdopt: a directory becomes a limited volume where it lies, with what it holds, and is given back without a limit.
func TestAdopt(t *testing.T) {
	each(t, func(t *testing.T, n *node) {
		origin := filepath.Join(n.mount, "old", "app")
		must(t, os.MkdirAll(filepath.Join(origin, "below"), 0o755))
		text := bytes.Repeat([]byte("x"), 4*mib)
		must(t, os.WriteFile(filepath.Join(origin, "below", "file"), text, 0o644))
		adopted, err := n.admin.Adopt(t.Context(), admin.Adoption{Pool: "vm", Name: "app", Path: origin, Bytes: 16 * mib, Convert: true})
		if err != nil || !adopted.Enforced {
			t.Fatalf("%+v, %v", adopted, err)
		}
		target := n.publish("app")
		if written, err := bound().write(t, filepath.Join(target, "below", "more"), 16*mib); err == nil || written > 12*mib {
			t.Errorf("into 16 MiB with 4 MiB in it went %d bytes: %v", written, err)
		}
		must(t, os.Remove(filepath.Join(target, "below", "more")))
		if out, clean := n.check(); !clean {
			t.Error(out)
		}
		n.unpublish("app", target)

		_, err = n.admin.Release(t.Context(), "app")
		must(t, err)
		got, err := os.ReadFile(filepath.Join(origin, "below", "file"))
		if err != nil || !bytes.Equal(got, text) {
			t.Errorf("the file came back different: %v", err)
		}
		for _, path := range []string{origin, filepath.Join(origin, "below")} {
			if id, inherit, err := quota.ProjectOf(hosttest.Open(t, path)); id != 0 || inherit || err != nil {
				t.Errorf("%s is in project %d (passed on: %v), %v", path, id, inherit, err)
			}
		}
		if written, err := bound().write(t, filepath.Join(origin, "more"), 20*mib); err != nil {
			t.Errorf("after the release the limit still binds, at %d: %v", written, err)
		}
	})
}

// TestTuned: an ext4 that was made without project quotas gets them as docs/operations.md says.
func TestTuned(t *testing.T) {
	device := hosttest.Loop(t, "", 128)
	hosttest.Run(t, "mkfs.ext4", "-q", "-F", device)
	hosttest.Run(t, "tune2fs", "-O", "project,quota", "-Q", "prjquota", device)
	mount := filepath.Join(t.TempDir(), "mount")
	hosttest.Mount(t, device, mount, "ext4", 0, "prjquota")
	q, err := quota.Open(hosttest.Open(t, mount))
	must(t, err)
	trial := filepath.Join(mount, "trial")
	must(t, os.Mkdir(trial, 0o755))
	must(t, q.Prove(hosttest.Open(t, trial), 1<<30))
	must(t, q.Close())
}
