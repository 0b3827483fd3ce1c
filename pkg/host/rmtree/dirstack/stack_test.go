package dirstack

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/hosttest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(fds)
}

// deep makes a chain of n directories called d and leaves a stack in the last.
func deep(t *testing.T, s *Stack, n int) {
	t.Helper()
	for range n {
		must(t, unix.Mkdirat(s.FD(), "d", 0o755))
		must(t, s.Enter("d"))
	}
}

func TestDepth(t *testing.T) {
	root := hosttest.Open(t, t.TempDir())
	before := openFiles(t)
	s, err := New(root)
	must(t, err)
	defer s.Close()
	const n = 5000
	deep(t, s, n)
	if got := openFiles(t); got > before+keepOpen {
		t.Errorf("%d more files open, want at most %d", got-before, keepOpen)
	}
	if p := s.Path("x"); len(p) != 2*n+1 || !strings.HasSuffix(p, "/d/x") {
		t.Errorf("path of %d bytes", len(p))
	}
	for range n {
		must(t, s.Leave())
		must(t, unix.Unlinkat(s.FD(), "d", unix.AT_REMOVEDIR))
	}
	if s.Depth() != 0 || s.Path("") != "." {
		t.Errorf("depth %d, path %s", s.Depth(), s.Path(""))
	}
	s.Close()
	if got := openFiles(t); got != before {
		t.Errorf("%d files stay open", got-before)
	}
}

// Reading a directory goes on where it was after its descriptor was closed.
func TestReadingSurvivesDepth(t *testing.T) {
	for _, dir := range []string{hosttest.Ext4(t, 64, ""), hosttest.XFS(t, 300, ""), hosttest.BtrfsNoQuota(t, 128)} {
		const wide = 3000
		for i := range wide {
			must(t, os.WriteFile(fmt.Sprintf("%s/file-%d", dir, i), nil, 0o600))
		}
		s, err := New(hosttest.Open(t, dir))
		must(t, err)
		seen := map[string]int{}
		for n := 0; ; n++ {
			e, ok, err := s.Next()
			must(t, err)
			if !ok {
				break
			}
			seen[e.Name]++
			if n%1000 != 500 {
				continue
			}
			name := fmt.Sprintf("sub-%d", n)
			must(t, unix.Mkdirat(s.FD(), name, 0o755))
			must(t, s.Enter(name))
			deep(t, s, keepOpen+5)
			for s.Depth() > 0 {
				must(t, s.Leave())
			}
		}
		files := 0
		for name, times := range seen {
			if times != 1 {
				t.Errorf("%s: %s seen %d times", dir, name, times)
			}
			if strings.HasPrefix(name, "file-") {
				files++
			}
		}
		if files != wide {
			t.Errorf("%s: %d files seen, want %d", dir, files, wide)
		}
		s.Close()
	}
}

// What is renamed over after it was read comes again behind the end, on btrfs.
func TestAgain(t *testing.T) {
	dir := hosttest.BtrfsNoQuota(t, 128)
	for i := range 10 {
		must(t, os.WriteFile(fmt.Sprintf("%s/%d", dir, i), nil, 0o600))
	}
	s, err := New(hosttest.Open(t, dir))
	must(t, err)
	defer s.Close()
	rest := func() (names []string) {
		for {
			e, ok, err := s.Next()
			must(t, err)
			if !ok {
				return names
			}
			names = append(names, e.Name)
		}
	}
	rest()
	for _, c := range []struct{ replaced, want string }{
		{"", "9"}, {"3", "9 3"}, {"", "3"}, {"5", "3 5"}, {"5", "5"},
	} {
		if c.replaced != "" {
			must(t, os.WriteFile(dir+"/new", nil, 0o600))
			must(t, os.Rename(dir+"/new", dir+"/"+c.replaced))
		}
		must(t, s.Again())
		if got := strings.Join(rest(), " "); got != c.want {
			t.Errorf("%q replaced: %s, want %s", c.replaced, got, c.want)
		}
	}
}

func TestMoved(t *testing.T) {
	dir := t.TempDir()
	s, err := New(hosttest.Open(t, dir))
	must(t, err)
	defer s.Close()
	must(t, os.Mkdir(dir+"/elsewhere", 0o755))
	deep(t, s, keepOpen+10)
	must(t, os.Rename(filepath.Join(dir, "d/d/d"), dir+"/elsewhere/d"))
	for err == nil && s.Depth() > 0 {
		err = s.Leave()
	}
	if !errors.Is(err, ErrMoved) {
		t.Errorf("at depth %d: %v", s.Depth(), err)
	}
}

func TestEnterRefuses(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Symlink("/", dir+"/link"))
	must(t, os.WriteFile(dir+"/file", nil, 0o600))
	must(t, os.Mkdir(dir+"/same", 0o755))
	hosttest.Mount(t, "none", dir+"/tmp", "tmpfs", 0, "size=1m")
	hosttest.Mount(t, dir+"/same", dir+"/bind", "", unix.MS_BIND, "")
	root := hosttest.Open(t, dir)
	s, err := New(root)
	must(t, err)
	defer s.Close()
	for name, want := range map[string][]error{
		"link": {unix.ENOTDIR, unix.ELOOP}, "file": {unix.ENOTDIR}, "none": {unix.ENOENT},
		"tmp": {ErrMountPoint}, "bind": {ErrMountPoint},
	} {
		_, plain := openPlain(root, name, dirFlags)
		for how, err := range map[string]error{"openat2": s.Enter(name), "openat": plain} {
			is := false
			for _, w := range want {
				is = is || errors.Is(err, w)
			}
			if !is {
				t.Errorf("%s by %s: %v, want %v", name, how, err, want)
			}
		}
	}
	fd, err := OpenPath(root, "link")
	must(t, err)
	var st unix.Stat_t
	must(t, unix.Fstat(fd, &st))
	must(t, unix.Close(fd))
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		t.Errorf("a link was opened as mode %o", st.Mode)
	}
	if s.Depth() != 0 {
		t.Errorf("depth %d", s.Depth())
	}
}
