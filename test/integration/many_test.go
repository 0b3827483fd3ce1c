package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/hosttest"
)

// Ten thousand small files come back one by one as they were: content, owners, modes, times, attributes, links.
func TestRestoreOfManyFiles(t *testing.T) {
	for _, kind := range []string{"xfs", "ext4", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			n := serveOn(t, kind)
			n.volume("vol", bytes(512*mib))
			manyFiles(t, n.data("vol"), 10_000)
			tree := describeTree(t, n.data("vol"))
			if len(tree) < 10_000 {
				t.Fatalf("%d entries", len(tree))
			}
			done(t, func() error { _, err := n.cut("snap", "vol"); return err })
			done(t, func() error {
				_, err := n.create("restored", bytes(512*mib), fromSnapshot("snap"))
				return err
			})
			hosttest.CompareTrees(t, tree, describeTree(t, n.data("restored")))
		})
	}
}

// manyFiles makes files in directories of a hundred; each tenth is a link of one of the two kinds, each seventh has
// an attribute.
func manyFiles(t *testing.T, dir string, count int) {
	t.Helper()
	begun := time.Unix(1_700_000_000, 0)
	for i := range count {
		at := filepath.Join(dir, fmt.Sprint(i/100), fmt.Sprint(i))
		must(t, os.MkdirAll(filepath.Dir(at), 0o755))
		before := filepath.Join(dir, fmt.Sprint((i-1)/100), fmt.Sprint(i-1))
		switch {
		case i%20 == 10:
			must(t, os.Link(before, at))
			continue
		case i%20 == 0 && i > 0:
			must(t, os.Symlink(before, at))
			continue
		}
		must(t, os.WriteFile(at, fmt.Appendf(nil, "file %d", i), 0o600))
		must(t, os.Chown(at, i%5*1000, i%3*1000))
		must(t, os.Chmod(at, os.FileMode(0o400+i%64)))
		if i%7 == 0 {
			must(t, unix.Lsetxattr(at, "user.number", fmt.Append(nil, i), 0))
		}
		must(t, os.Chtimes(at, begun, begun.Add(time.Duration(i)*time.Nanosecond)))
	}
}
