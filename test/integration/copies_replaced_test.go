package integration

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// A file that is replaced atomically is there at every instant: so it is in the copy that is made file by file.
func TestCloneWhileFilesAreReplaced(t *testing.T) {
	n, _, b := twoPools(t, "btrfs", "ext4", "")
	n.volume("vol", with("pool", "a"), bytes(200*mib))
	dir := filepath.Join(n.data("vol"), "dir")
	must(t, os.Mkdir(dir, 0o755))
	const files = 400
	for i := range files {
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), []byte("x"), 0o600))
	}
	for i := range 3000 {
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("idle-%d", i)), []byte("x"), 0o600))
	}
	ctx, stop := context.WithCancel(t.Context())
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			p := filepath.Join(dir, fmt.Sprint(i%files))
			_ = os.WriteFile(p+".new", []byte("y"), 0o600)
			_ = os.Rename(p+".new", p)
		}
	})
	defer writer.Wait()
	defer stop()
	for i := range 3 {
		id := fmt.Sprintf("clone-%d", i)
		n.volume(id, with("pool", "b"), bytes(200*mib), fromVolume("vol"))
		lost := 0
		for j := range files {
			if _, err := os.Lstat(filepath.Join(b, "volumes", id, "data/dir", fmt.Sprint(j))); err != nil {
				lost++
			}
		}
		if lost > 0 {
			t.Errorf("%s lacks %d of %d files", id, lost, files)
		}
	}
}
