package integration

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// canary is a tree outside of everything that hostvol may touch. It must be the same at the end of the test, and
// so must /etc.
func canary(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "empty/empty"), 0o750))
	must(t, os.WriteFile(filepath.Join(dir, "nothing"), nil, 0o640)) // what an unpublish might take for a target
	must(t, os.WriteFile(filepath.Join(dir, "file"), []byte("sing"), 0o600))
	must(t, os.Symlink("file", filepath.Join(dir, "link")))
	unchanged(t, dir)
	unchanged(t, "/etc")
	return dir
}

// unchanged verifies at the end of the test that a tree is what it is now.
func unchanged(t *testing.T, dir string) {
	t.Helper()
	before := fingerprint(t, dir)
	t.Cleanup(func() {
		if after := fingerprint(t, dir); after != before {
			t.Errorf("%s was changed; before:\n%s\nafter:\n%s", dir, before, after)
		}
	})
}

// fingerprint has a line for each entry of a tree. The time of directories is left out below /etc, which is not
// ours alone.
func fingerprint(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s %v", path, info.Mode())
		if info.Mode().IsRegular() {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %d %x %v", info.Size(), sha256.Sum256(content), info.ModTime())
		}
		b.WriteByte('\n')
		return nil
	})
	must(t, err)
	return b.String()
}
