package rmtree_test

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/hosttest"
	"github.com/hostvol/hostvol/pkg/host/rmtree"
)

const gib = 1 << 30

// huge makes a file of size bytes, the first 3 GiB of them allocated, with data
// in each of these.
func huge(t *testing.T, path string, size int64) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	must(t, unix.Fallocate(int(f.Fd()), 0, 0, 3*gib))
	for off := int64(gib / 2); off < 3*gib; off += gib {
		_, err := f.WriteAt([]byte("data"), off)
		must(t, err)
	}
	must(t, f.Truncate(size))
	must(t, f.Close())
}

func TestHugeFile(t *testing.T) {
	dir := hosttest.Ext4(t, 8<<10, "")
	huge(t, dir+"/x", 3*gib)
	if err := remove(t, dir, "x", tokens(2)); err == nil {
		t.Error("a file of 3 GiB went with two tokens")
	}
	if st, err := os.Stat(dir + "/x"); err != nil || st.Size() != gib {
		t.Errorf("after two steps: %+v, %v", st, err)
	}
	must(t, remove(t, dir, "x", tokens(2)))

	huge(t, dir+"/x", 3*gib)
	hosttest.Run(t, "chattr", "+i", dir+"/x")
	must(t, remove(t, dir, "x", tokens(4)))

	// A hole of 15 TiB takes few steps and no tokens.
	huge(t, dir+"/x", 15<<40)
	start := time.Now()
	must(t, remove(t, dir, "x", tokens(5)))
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("a sparse file took %v", took)
	}
	if exists(dir + "/x") {
		t.Error("still there")
	}
}

func TestHugeFileWithTwoNames(t *testing.T) {
	dir := hosttest.Ext4(t, 8<<10, "")
	must(t, os.Mkdir(dir+"/x", 0o755))
	huge(t, dir+"/other", 3*gib)
	must(t, os.Link(dir+"/other", dir+"/x/link"))
	must(t, remove(t, dir, "x", tokens(2)))
	if st, err := os.Stat(dir + "/other"); err != nil || st.Size() != 3*gib {
		t.Errorf("the other name: %+v, %v", st, err)
	}
	must(t, os.Mkdir(dir+"/x", 0o755))
	must(t, os.Link(dir+"/other", dir+"/x/one"))
	must(t, os.Rename(dir+"/other", dir+"/x/two"))
	must(t, remove(t, dir, "x", rmtree.Options{}))
}
