package hosttest

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ACL encodes a POSIX ACL: the owner's, user 1234's, group's, mask's and others' bits.
func ACL(owner, user, group, mask, other uint16) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	add := func(tag, perm uint16, id uint32) {
		b = binary.LittleEndian.AppendUint16(b, tag)
		b = binary.LittleEndian.AppendUint16(b, perm)
		b = binary.LittleEndian.AppendUint32(b, id)
	}
	const none = 0xffffffff
	add(0x01, owner, none)
	add(0x02, user, 1234)
	add(0x04, group, none)
	add(0x10, mask, none)
	add(0x20, other, none)
	return b
}

// MakeTree makes one of everything that a tree can hold in dir: links of both
// kinds, special files, owners, modes, ACLs, attributes, holes.
func MakeTree(t testing.TB, dir string) {
	t.Helper()
	write := func(name, content string, mode os.FileMode) {
		must(t, os.MkdirAll(filepath.Dir(dir+"/"+name), 0o755))
		must(t, os.WriteFile(dir+"/"+name, []byte(content), 0o600))
		must(t, os.Chmod(dir+"/"+name, mode))
	}
	xattr := func(name, key string, value []byte) { must(t, unix.Lsetxattr(dir+"/"+name, key, value, 0)) }
	write("plain", strings.Repeat("plain ", 10000), 0o644)
	write("empty", "", 0o644)
	write("nobody", "unreadable", 0)
	write("a/b/c/deep", "deep", 0o600)
	write("setuid", "owned", 0o755)
	must(t, os.Chown(dir+"/setuid", 1000, 2000))
	must(t, unix.Chmod(dir+"/setuid", 0o6755))
	write("capable", "binary", 0o755)
	must(t, os.Chown(dir+"/capable", 1000, 1000))
	capability := binary.LittleEndian.AppendUint32(nil, 0x02000001)  // VFS_CAP_REVISION_2, effective
	capability = binary.LittleEndian.AppendUint32(capability, 1<<13) // permitted: CAP_NET_RAW
	xattr("capable", "security.capability", append(capability, make([]byte, 12)...))
	write("attributes", "x", 0o664)
	xattr("attributes", "user.small", []byte("value"))
	xattr("attributes", "user.empty", nil)
	xattr("attributes", "trusted.other", []byte("t"))
	xattr("attributes", "user.large", []byte(strings.Repeat("v", 500)))
	xattr("attributes", "system.posix_acl_access", ACL(6, 7, 4, 6, 0))
	must(t, os.Mkdir(dir+"/acl", 0o750))
	xattr("acl", "system.posix_acl_default", ACL(7, 5, 5, 5, 0))
	write("acl/inherits", "i", 0o640)
	must(t, unix.Chmod(dir+"/a", 0o3775))
	xattr("a", "user.dir", []byte("d"))
	must(t, os.Chown(dir+"/a/b", 7, 8))

	must(t, os.Symlink("/", dir+"/root"))
	must(t, os.Symlink("a/b/c/deep", dir+"/relative"))
	must(t, os.Symlink(strings.Repeat("x", 1000), dir+"/dangling"))
	must(t, os.Lchown(dir+"/dangling", 11, 12))
	xattr("dangling", "trusted.link", []byte("l"))
	must(t, unix.Mkfifo(dir+"/fifo", 0o600))
	xattr("fifo", "trusted.fifo", []byte("f"))
	must(t, unix.Mknod(dir+"/socket", unix.S_IFSOCK|0o700, 0))
	must(t, unix.Mknod(dir+"/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(t, unix.Mknod(dir+"/block", unix.S_IFBLK|0o600, int(unix.Mkdev(250, 7))))
	must(t, unix.Chmod(dir+"/null", 0o4666))
	must(t, os.Chown(dir+"/null", 3, 4))

	write("linked/one", strings.Repeat("hard", 5000), 0o600)
	must(t, os.Link(dir+"/linked/one", dir+"/linked/two"))
	must(t, os.Link(dir+"/linked/one", dir+"/a/three"))
	must(t, os.Link(dir+"/dangling", dir+"/a/dangling"))
	must(t, os.Link(dir+"/fifo", dir+"/a/fifo"))

	f, err := os.Create(dir + "/sparse")
	must(t, err)
	for _, at := range []int64{1 << 20, 20 << 20, 21 << 20} {
		_, err = f.WriteAt([]byte(strings.Repeat("data", 1<<12)), at)
		must(t, err)
	}
	must(t, f.Truncate(64<<20))
	must(t, f.Close())
	f, err = os.Create(dir + "/hole")
	must(t, err)
	must(t, f.Truncate(1<<30))
	must(t, f.Close())

	name := strings.Repeat("n", 250)
	must(t, os.Mkdir(dir+"/"+name, 0o755))
	for i := range 200 {
		write(fmt.Sprintf("many/%d", i), fmt.Sprint(i), 0o644)
	}
	must(t, unix.Chmod(dir, 0o1750))
	must(t, os.Chown(dir, 21, 22))
	unix.Sync()
	n := int64(0)
	must(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		n++
		times := []unix.Timespec{{Sec: 1e9 + n, Nsec: 123456789}, {Sec: 1e9 - n, Nsec: 987654321}}
		if err == nil {
			err = unix.UtimesNanoAt(unix.AT_FDCWD, path, times, unix.AT_SYMLINK_NOFOLLOW)
		}
		return err
	}))
}

// DescribeTree returns what a copy must have in common with its original, by path.
func DescribeTree(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	names := map[uint64][]string{}
	must(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		must(t, err)
		rel, err := filepath.Rel(dir, path)
		must(t, err)
		var st unix.Stat_t
		must(t, unix.Lstat(path, &st))
		d := fmt.Sprintf("mode %o owner %d:%d rdev %x atime %d.%d mtime %d.%d",
			st.Mode, st.Uid, st.Gid, st.Rdev, st.Atim.Sec, st.Atim.Nsec, st.Mtim.Sec, st.Mtim.Nsec)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			d += fmt.Sprintf(" size %d content %s", st.Size, digest(t, path))
		case unix.S_IFLNK:
			to, err := os.Readlink(path)
			must(t, err)
			d += " to " + to
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			names[st.Ino] = append(names[st.Ino], rel)
		}
		all[rel] = d + xattrs(t, path)
		return nil
	}))
	for _, n := range names {
		for _, name := range n {
			all[name] += fmt.Sprintf(" names %q", n)
		}
	}
	return all
}

// digest reads without changing the time of access.
func digest(t testing.TB, path string) string {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOATIME, 0)
	must(t, err)
	defer f.Close() //nolint:errcheck // read only
	st, err := f.Stat()
	must(t, err)
	if st.Size() >= 1<<30 {
		return "not read"
	}
	h := sha256.New()
	_, err = io.Copy(h, f)
	must(t, err)
	return fmt.Sprintf("%x", h.Sum(nil)[:8])
}

func xattrs(t testing.TB, path string) string {
	t.Helper()
	buf := make([]byte, 1<<16)
	n, err := unix.Llistxattr(path, buf)
	must(t, err)
	var out []string
	for name := range strings.SplitSeq(string(buf[:n]), "\x00") {
		if name == "" || name == "security.selinux" || strings.HasPrefix(name, "trusted.SGI_ACL_") {
			continue
		}
		value := make([]byte, 1<<16)
		n, err := unix.Lgetxattr(path, name, value)
		must(t, err)
		out = append(out, fmt.Sprintf(" %s=%q", name, value[:n]))
	}
	slices.Sort(out)
	return strings.Join(out, "")
}

// CompareTrees fails the test for each entry in which a copy differs from its
// original, both as DescribeTree gives them.
func CompareTrees(t testing.TB, want, got map[string]string) {
	t.Helper()
	for _, path := range slices.Sorted(maps.Keys(want)) {
		if want[path] != got[path] {
			t.Errorf("%.80s\n was    %.400s\n became %.400s", path, want[path], got[path])
		}
	}
	for path := range got {
		if _, ok := want[path]; !ok {
			t.Errorf("%s is new", path)
		}
	}
}
