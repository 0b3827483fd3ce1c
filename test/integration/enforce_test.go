package integration

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// write appends random bytes to a file until that many are written or the kernel refuses, and gives how many.
func write(t *testing.T, path string, size int64) (written int64, err error) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	must(t, err)
	defer f.Close()
	for chunk := int64(64 << 10); written < size && err == nil; {
		var n int64
		n, err = io.CopyN(f, rand.Reader, chunk)
		written += n
	}
	return written, errors.Join(err, f.Sync())
}

// bound verifies that the kernel lets a volume have about so many bytes, and no more.
func bound(t *testing.T, target string, size int64) {
	t.Helper()
	file := filepath.Join(target, "bound")
	written, err := write(t, file, 2*size)
	if !errors.Is(err, unix.EDQUOT) {
		t.Errorf("%d bytes into a volume of %d: %v", written, size, err)
	}
	if written > size || written < size/2 {
		t.Errorf("the limit of %d was met at %d", size, written)
	}
	must(t, os.Remove(file))
	unix.Sync() // what is freed is counted with the next commit
}

func TestTheSizeIsEnforced(t *testing.T) {
	n := serveOn(t, "btrfs")
	id := n.volume("vol", with("enforce", "required"))
	free := n.volume("free", with("enforce", "none"))
	target := n.mounted(id, "pod")
	bound(t, target, 16*mib)
	if _, err := write(t, filepath.Join(n.mounted(free, "free"), "file"), 32*mib); err != nil {
		t.Errorf("a volume without a limit: %v", err)
	}
	must(t, n.expand(id, 32*mib))
	bound(t, target, 32*mib)

	n.restart()
	bound(t, target, 32*mib)
	if why := differ(n.poolState("default").Enforcement, "btrfs-qgroup"); why != "" {
		t.Error(why)
	}
}

// The numbers are the volume's own, however much others write.
func TestStatsAreTheVolumesOwn(t *testing.T) {
	n := serveOn(t, "btrfs")
	id, other := n.volume("vol"), n.volume("other", bytes(64*mib))
	target := n.mounted(id, "pod")
	_, err := write(t, filepath.Join(n.mounted(other, "other"), "file"), 32*mib)
	must(t, err)
	_, err = write(t, filepath.Join(target, "file"), 4*mib)
	must(t, err)
	unix.Sync()
	answer, err := n.stats(id, target)
	must(t, err)
	if len(answer.GetUsage()) != 1 {
		t.Fatalf("%v", answer)
	}
	u := answer.GetUsage()[0]
	if u.GetTotal() != 16*mib || u.GetUsed() < 4*mib || u.GetUsed() > 5*mib || u.GetAvailable() != u.GetTotal()-u.GetUsed() {
		t.Errorf("%v", u)
	}
}

func TestStatsWithoutEnforcement(t *testing.T) {
	n := serve(t)
	id := n.volume("vol")
	target := n.mounted(id, "pod")
	answer, err := n.stats(id, target)
	must(t, err)
	var st unix.Statfs_t
	must(t, unix.Statfs(target, &st))
	if total := answer.GetUsage()[0].GetTotal(); total != int64(st.Blocks)*st.Frsize {
		t.Errorf("%v, want those of the file system", answer)
	}
	if len(answer.GetUsage()) != 2 || answer.GetUsage()[1].GetTotal() != int64(st.Files) {
		t.Errorf("%v", answer)
	}
}

func TestExpandUnderAWriter(t *testing.T) {
	n := serveOn(t, "btrfs")
	id := n.volume("vol", bytes(8*mib))
	target := n.mounted(id, "pod")
	f, err := os.Create(filepath.Join(target, "file"))
	must(t, err)
	defer f.Close()
	const size = 100 * mib
	refused := 0
	for written, limit := int64(0), int64(8*mib); written < size; {
		n64, err := io.CopyN(f, rand.Reader, min(mib, size-written))
		written += n64
		if err == nil {
			err = f.Sync()
		}
		if errors.Is(err, unix.EDQUOT) && limit < 2*size {
			refused++
			limit *= 2
			must(t, n.expand(id, limit))
			continue
		}
		must(t, err)
	}
	if refused < 3 {
		t.Errorf("refused %d times only", refused)
	}
}

// A limit that was lost, as a crash of the machine can lose it, is set again at the start.
func TestLimitsAreSetAgain(t *testing.T) {
	n := serveOn(t, "btrfs")
	id := n.volume("vol")
	target := n.mounted(id, "pod")
	run(t, "btrfs", "qgroup", "limit", "none", filepath.Join(n.pool, "volumes/vol/data"))
	if why := differ(n.reasons(id), "[LimitMissing]"); why != "" {
		t.Error(why)
	}
	n.restart()
	bound(t, target, 16*mib)
	if why := differ(n.reasons(id), "[]"); why != "" {
		t.Error(why)
	}
}

// quota is needed for the whole file system, so the administrator has to allow it.
func TestQuotaIsSwitchedOnOnlyIfAllowed(t *testing.T) {
	for _, allowed := range []bool{false, true} {
		t.Run(fmt.Sprint(allowed), func(t *testing.T) {
			n := newNode(t)
			n.pool = n.filesystem("btrfs", 512)
			run(t, "btrfs", "quota", "disable", n.pool)
			n.start("--config", writeConfig(t, fmt.Sprintf("pools: [{name: default, path: %s, create: true, enableQuota: %v}]", n.pool, allowed)))
			_, err := n.create("vol", with("enforce", "required"))
			if (err == nil) != allowed {
				t.Error(err)
			}
			if p := n.poolState("default"); (p.Enforcement != "") != allowed || (p.NotEnforced == "") != allowed {
				t.Errorf("%+v", p)
			}
		})
	}
}
