package crash

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/hostvol/hostvol/test/daemon"
)

// filesystem is a scratch one, on which each world has its own directory.
type filesystem struct {
	kind   string
	mount  string
	worlds int
}

// kinds are a filesystem without and one with limits.
func kinds() []string { return []string{"ext4", "btrfs"} }

const filesystemMiB = 4096 // sparse

func newFilesystem(t *testing.T, kind string) *filesystem {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("needs root: it mounts file systems")
	}
	dir, err := os.MkdirTemp("", "c") // not t.TempDir: a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	mount, cleanup, err := daemon.LoopFS(dir, kind, filesystemMiB)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cleanup(); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return &filesystem{kind: kind, mount: mount}
}

// place makes a new directory on the filesystem and one beside it.
func (f *filesystem) place() (on, beside string, err error) {
	f.worlds++
	name := fmt.Sprint(f.worlds)
	on, beside = filepath.Join(f.mount, name), filepath.Join(filepath.Dir(f.mount), name)
	for _, dir := range []string{on, beside} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return "", "", err
		}
	}
	return on, beside, nil
}
