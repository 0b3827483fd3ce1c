package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
)

// legacy makes a directory with somebody's data, beside the pool.
func legacy(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "legacy/data")
	must(t, os.MkdirAll(filepath.Join(path, "sub"), 0o750))
	must(t, os.WriteFile(filepath.Join(path, "sub/file"), []byte("dear"), 0o640))
	must(t, os.Chown(filepath.Join(path, "sub/file"), 1000, 2000))
	must(t, unix.Setxattr(filepath.Join(path, "sub/file"), "user.tag", []byte("v"), 0))
	must(t, os.Symlink("sub/file", filepath.Join(path, "link")))
	return path
}

// content of a tree, wherever it lies.
func content(t *testing.T, dir string) string {
	t.Helper()
	return strings.ReplaceAll(fingerprint(t, dir), dir, "")
}

func TestAdopt(t *testing.T) {
	for _, kind := range []string{"ext4", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			n := newNode(t)
			mountpoint := n.filesystem(kind, 1024)
			n.pool = filepath.Join(mountpoint, "pool")
			n.start("--pool", "default="+n.pool)
			path := legacy(t, mountpoint)
			before := content(t, path)
			adopt := []string{"adopt", "--pool", "default", "--name", "old", "--size", "64Mi", path}

			if out := n.admin(adopt...); !strings.Contains(out, "Nothing was done") {
				t.Errorf("%s", out)
			}
			if why := differ(n.all(), "[]"); why != "" || content(t, path) != before {
				t.Errorf("a dry run did something: %s", why)
			}

			if out := n.admin(append(adopt, "--execute")...); !strings.Contains(out, "volumeHandle old") {
				t.Errorf("%s", out)
			}
			if _, err := os.Lstat(path); !os.IsNotExist(err) {
				t.Errorf("the directory is still there: %v", err)
			}
			if v, err := n.get("old"); err != nil || v.GetCapacityBytes() != 64*mib {
				t.Errorf("%v %v", v, err)
			}
			n.restart()
			target := n.mounted("old", "pod")
			if got := content(t, target); got != before {
				t.Errorf("%s\nbefore\n%s", got, before)
			}
			must(t, n.expand("old", 128*mib))
			if out := n.refused("release", "old"); !strings.Contains(out, "published") {
				t.Errorf("%s", out)
			}
			n.unmounted("old", target)

			if out := n.admin("release", "old"); !strings.Contains(out, path) {
				t.Errorf("%s", out)
			}
			if got := content(t, path); got != before {
				t.Errorf("%s\nbefore\n%s", got, before)
			}
			_, err := n.get("old")
			want(t, err, codes.NotFound)
			n.refused("release", "old")
			n.empty()
		})
	}
}

func TestAdoptionsThatAreRefused(t *testing.T) {
	n := newNode(t)
	mountpoint := n.filesystem("ext4", 768)
	n.pool = filepath.Join(mountpoint, "pool")
	n.start("--pool", "default="+n.pool)
	path := legacy(t, mountpoint)
	elsewhere := legacy(t, n.dir)
	n.volume("vol")
	mounted := filepath.Join(path, "mounted")
	must(t, os.Mkdir(mounted, 0o755))
	must(t, os.Symlink(path, filepath.Join(mountpoint, "alias")))
	must(t, os.Symlink(n.pool, filepath.Join(mountpoint, "to-pool")))
	must(t, unix.Mount("tmpfs", mounted, "tmpfs", 0, "size=1m"))
	t.Cleanup(func() { _ = unix.Unmount(mounted, 0) })
	unchanged(t, path)
	unchanged(t, elsewhere)
	for _, c := range []struct{ name, id, pool, path, why string }{
		{"another file system", "new", "default", elsewhere, "not on the filesystem"},
		{"a mount point", "new", "default", mounted, "mount point"},
		{"something mounted inside", "new", "default", path, "mounted at"},
		{"the pool", "new", "default", n.pool, "contain one another"},
		{"in the pool", "new", "default", n.pool + "/volumes/vol", "contain one another"},
		{"around the pool", "new", "default", mountpoint, "contain one another"},
		{"in the pool by a link", "new", "default", mountpoint + "/to-pool/volumes", "contain one another"},
		{"a volume by a link", "new", "default", mountpoint + "/to-pool/volumes/vol", "contain one another"},
		{"a link", "new", "default", mountpoint + "/alias", "not a directory"},
		{"a file", "new", "default", path + "/sub/file", "not a directory"},
		{"missing", "new", "default", mountpoint + "/none", "does not exist"},
		{"missing parent", "new", "default", mountpoint + "/none/none", "no such file"},
		{"relative", "new", "default", "legacy/data", "absolute"},
		{"unclean", "new", "default", mountpoint + "/legacy/../legacy/data", "absolute"},
		{"root", "new", "default", "/", "absolute"},
		{"a taken name", "vol", "default", path + "/sub", "another name"},
		{"no id", "../x", "default", path + "/sub", "cannot be a volume's id"},
		{"upper case", "Old", "default", path + "/sub", "cannot be a volume's id"},
		{"no pool", "new", "none", path + "/sub", "not open"},
		{"more than there is", "new", "default", path + "/sub --size 1Ti", "can ever hold"},
		{"conversion without quota", "new", "default", path + "/sub --convert", "cannot enforce"},
	} {
		t.Run(c.name, func(t *testing.T) {
			line := append([]string{"adopt", "--execute", "--pool", c.pool, "--name", c.id, "--size", "1Mi"}, strings.Fields(c.path)...)
			if out := n.refused(line...); !strings.Contains(out, c.why) {
				t.Errorf("%s", out)
			}
		})
	}
	if why := differ(n.all(), "[vol]"); why != "" {
		t.Error(why)
	}
	if out := n.refused("release", "vol"); !strings.Contains(out, "not adopted") {
		t.Errorf("%s", out)
	}
}

// With --convert the size is enforced; on btrfs the original stays.
func TestAdoptWithConversion(t *testing.T) {
	n := newNode(t)
	mountpoint := n.filesystem("btrfs", 1024)
	n.pool = filepath.Join(mountpoint, "pool")
	n.start("--pool", "default="+n.pool)
	path := legacy(t, mountpoint)
	_, err := write(t, filepath.Join(path, "large"), 12*mib)
	must(t, err)
	before := content(t, path)
	unchanged(t, path)
	line := []string{"adopt", "--pool", "default", "--name", "old", "--convert", "--execute", path}

	if out := n.refused(append(line, "--size", "8Mi")...); !strings.Contains(out, "more than the size") {
		t.Errorf("%s", out)
	}
	n.empty()

	n.admin(append(line, "--size", "16Mi")...)
	target := n.mounted("old", "pod")
	if got := content(t, target); got != before {
		t.Errorf("%s\nbefore\n%s", got, before)
	}
	if _, err := write(t, filepath.Join(target, "more"), 8*mib); err == nil {
		t.Error("the size is not enforced")
	}
	n.unmounted("old", target)
	if out := n.refused("release", "old"); !strings.Contains(out, path) {
		t.Errorf("release over the original: %s", out)
	}
	must(t, n.remove("old"))
	if out := n.admin("trash", "list"); !strings.Contains(out, "by hand") { // whose directory it was
		t.Errorf("%s", out)
	}
	n.admin("trash", "purge", "old")
	n.empty()
}

func TestAnAdoptedVolumeIsDeletedLikeAnyOther(t *testing.T) {
	n := newNode(t)
	n.start(append(keeping(t), "--pool", "default="+n.pool)...)
	path := legacy(t, n.dir)
	before := content(t, path)
	n.admin("adopt", "--pool", "default", "--name", "old", "--size", "1Mi", "--execute", path)
	must(t, n.remove("old"))
	n.admin("trash", "restore", "old")
	n.admin("release", "old")
	if got := content(t, path); got != before {
		t.Errorf("%s", got)
	}
}
