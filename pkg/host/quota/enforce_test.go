//go:build prjquota

// These tests need a kernel with CONFIG_XFS_QUOTA and CONFIG_QFMT_V2.

package quota

import (
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/hosttest"
)

func enforcing(t *testing.T) map[string]string {
	return map[string]string{
		"xfs":  hosttest.XFS(t, 300, "prjquota"),
		"ext4": ext4(t, "prjquota"),
	}
}

func ext4(t *testing.T, options string) string {
	return hosttest.Ext4(t, 128, options, "-O", "quota,project", "-E", "quotatype=prjquota", "-I", "256")
}

func TestEnforced(t *testing.T) {
	for name, dir := range enforcing(t) {
		t.Run(name, func(t *testing.T) { testEnforced(t, dir) })
		t.Run(name+"/tree", func(t *testing.T) { testTree(t, dir) })
	}
}

func testEnforced(t *testing.T, dir string) {
	root := hosttest.Open(t, dir)
	p, err := Open(root)
	must(t, err)
	t.Cleanup(func() { must(t, p.Close()) })
	if on, err := p.Enforced(); !on || err != nil {
		t.Fatalf("enforced %v, %v", on, err)
	}
	must(t, os.Mkdir(dir+"/proof", 0o755))
	proof := hosttest.Open(t, dir+"/proof")
	must(t, p.Prove(proof, 1<<30))
	if left, _ := os.ReadDir(dir + "/proof"); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if id, inherit, err := ProjectOf(proof); id != 0 || inherit || err != nil {
		t.Errorf("the proof's directory: %d, %v, %v", id, inherit, err)
	}
	free(t, p, 1<<30)
	must(t, p.Prove(proof, 1<<30)) // may be repeated

	must(t, os.Mkdir(dir+"/used", 0o755))
	v := hosttest.Open(t, dir+"/used")
	must(t, SetProject(v, 42, true))
	must(t, p.SetLimit(42, 8<<20+1))
	must(t, os.WriteFile(dir+"/used/f", make([]byte, 4<<20), 0o600))
	unix.Sync()
	u, err := p.Read(42)
	must(t, err)
	if u.LimitBytes != 8<<20+4096 && u.LimitBytes != 8<<20+1024 || u.Bytes < 4<<20 || u.Bytes > 5<<20 || u.Inodes != 2 {
		t.Errorf("usage %+v", u)
	}
	err = without(unix.CAP_SYS_RESOURCE, func() error { return os.WriteFile(dir+"/used/g", make([]byte, 8<<20), 0o600) })
	if !errors.Is(err, unix.EDQUOT) && !errors.Is(err, unix.ENOSPC) {
		t.Errorf("write beyond the limit: %v", err)
	}
	if err := p.Prove(proof, 42); !errors.Is(err, unix.EBUSY) {
		t.Errorf("prove with an id in use: %v", err)
	}
	var st unix.Statfs_t
	must(t, unix.Statfs(dir+"/used", &st))
	if size := int64(st.Blocks) * st.Bsize; size != u.LimitBytes {
		t.Errorf("df says %d bytes, want %d", size, u.LimitBytes)
	}
	must(t, p.SetLimit(42, 0))
	must(t, os.RemoveAll(dir+"/used/g"))
	must(t, os.WriteFile(dir+"/used/g", make([]byte, 8<<20), 0o600))
	if u, err := p.Read(42); u.LimitBytes != 0 || err != nil {
		t.Errorf("limit taken away: %+v, %v", u, err)
	}
	must(t, SetTree(t.Context(), v, 0))
	must(t, SetProject(v, 0, false))
	free(t, p, 42)
	if u, err := p.Read(99999); u != (Usage{}) || err != nil {
		t.Errorf("an id never used: %+v, %v", u, err)
	}

	// As on a kernel without quotactl_fd.
	device, err := deviceOf(root)
	must(t, err)
	old := &Project{fd: root, device: device, unit: p.unit}
	must(t, old.check())
	must(t, old.SetLimit(43, 1<<20))
	if u, err := p.Read(43); u.LimitBytes != 1<<20 || err != nil {
		t.Errorf("limit set by device: %+v, %v", u, err)
	}
	if used, err := old.InUse(43); !used || err != nil {
		t.Errorf("in use %v, %v", used, err)
	}
}

// free waits until a project has no usage: XFS frees deleted files a little later.
func free(t *testing.T, p *Project, id uint32) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		used, err := p.InUse(id)
		must(t, err)
		if !used {
			return
		}
		if time.Now().After(end) {
			u, _ := p.Read(id)
			t.Fatalf("project %d is still in use: %+v", id, u)
		}
	}
}

func TestOnlyCounted(t *testing.T) {
	for name, dir := range map[string]string{
		"xfs, pqnoenforce": hosttest.XFS(t, 300, "pqnoenforce"), "ext4 without option": ext4(t, ""),
		"xfs, user quota": hosttest.XFS(t, 300, "usrquota"),
	} {
		if p, err := Open(hosttest.Open(t, dir)); !errors.Is(err, ErrUnsupported) || p != nil {
			t.Errorf("%s: %v", name, err)
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	p, err := Open(hosttest.Open(b, hosttest.XFS(b, 300, "prjquota")))
	must(b, err)
	defer p.Close()
	must(b, p.SetLimit(7, 1<<20))
	for b.Loop() {
		if _, err := p.Read(7); err != nil {
			b.Fatal(err)
		}
	}
}
