package btrfs_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/btrfs"
	"github.com/hostvol/hostvol/pkg/host/hosttest"
)

func TestSnapshot(t *testing.T) {
	dir := hosttest.Btrfs(t, 256)
	root := hosttest.Open(t, dir)
	must(t, btrfs.CreateSubvolume(root, "a"))
	a := hosttest.Open(t, dir+"/a")
	must(t, btrfs.SetLimit(a, 64<<20))
	const size = 4 << 20
	must(t, os.WriteFile(dir+"/a/file", make([]byte, size), 0o600)) // not on the disk yet
	must(t, btrfs.Snapshot(a, root, "frozen", true))
	must(t, btrfs.Snapshot(a, root, "copy", false))
	must(t, os.WriteFile(dir+"/a/file", nil, 0o600))

	for name, readOnly := range map[string]bool{"frozen": true, "copy": false} {
		fd := hosttest.Open(t, dir+"/"+name)
		if is, err := btrfs.IsSubvolume(fd); err != nil || !is {
			t.Errorf("%s: %v %v", name, is, err)
		}
		if st, err := os.Stat(dir + "/" + name + "/file"); err != nil || st.Size() != size {
			t.Errorf("%s: %v %v", name, st, err)
		}
		if err := os.WriteFile(dir+"/"+name+"/new", nil, 0o600); errors.Is(err, unix.EROFS) != readOnly {
			t.Errorf("%s: written: %v", name, err)
		}
		u, err := btrfs.ReadUsage(fd)
		must(t, err)
		if u.Referenced < size || u.Referenced > size+1<<20 || u.Limit != 64<<20 {
			t.Errorf("%s: %+v", name, u)
		}
	}
	if err := btrfs.Snapshot(a, root, "copy", false); !errors.Is(err, fs.ErrExist) {
		t.Errorf("twice: %v", err)
	}
	must(t, os.Mkdir(dir+"/plain", 0o755))
	if err := btrfs.Snapshot(hosttest.Open(t, dir+"/plain"), root, "of-plain", false); !errors.Is(err, unix.EINVAL) {
		t.Errorf("of a directory: %v", err)
	}
	other := hosttest.Open(t, hosttest.BtrfsNoQuota(t, 128))
	if err := btrfs.Snapshot(a, other, "b", false); !errors.Is(err, unix.EXDEV) {
		t.Errorf("on another filesystem: %v", err)
	}
	for _, name := range []string{"", ".", "..", "x/y", fmt.Sprintf("%256d", 0)} {
		if btrfs.Snapshot(a, root, name, false) == nil {
			t.Errorf("name %q was accepted", name)
		}
	}
	must(t, btrfs.DeleteSubvolume(root, "frozen"))
}
