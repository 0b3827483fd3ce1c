package disk_test

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/hosttest"
)

const gib = 1 << 30

// What cannot grow is mounted at the size that it has, and what never can is refused
// before anything is written.
func TestGrowthThatCannotBe(t *testing.T) {
	f := one(t, hosttest.XFS(t, 8192, ""), engine.Form{FSType: "ext4"}, 256*mib, "-b", "1024")
	must(t, f.e.Grows(t.Context(), f.item, f.v, gib))
	is(t, f.e.Grows(t.Context(), f.item, f.v, 1100*gib), engine.ErrTooLarge, "1024 bytes")
	f.v.Bytes = 1100 * gib // as an earlier program has recorded it
	must(t, f.e.Apply(t.Context(), f.item, f.v))
	target := f.publish()
	must(t, os.WriteFile(target+"/file", []byte("text"), 0o600))
	f.inspect(engine.GrowthPending)
	f.unmount(target)
	f.detach()
	isText(t, f.publish()+"/file", "text")
}

// An ext4 of any size has blocks of 4 KiB, and grows as far as disks go.
func TestExt4GrowsFar(t *testing.T) {
	f := one(t, hosttest.XFS(t, 8192, ""), engine.Form{FSType: "ext4"}, 256*mib)
	must(t, f.e.Grows(t.Context(), f.item, f.v, 1100*gib))
	f.v.Bytes = 1100 * gib
	must(t, f.e.Apply(t.Context(), f.item, f.v))
	target := f.publish()
	if got := capacity(t, target); got < 1000*gib {
		t.Errorf("it has %d bytes", got)
	}
	f.inspect()
}

func capacity(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Statfs_t
	must(t, unix.Statfs(path, &st))
	return int64(st.Blocks) * st.Bsize
}

// An XFS on a pool without any room is mounted, and grows when there is some.
func TestGrowthWithoutRoom(t *testing.T) {
	for _, kind := range []string{"xfs", "ext4", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			pool := hosttest.Ext4(t, 512, "")
			f := one(t, pool, engine.Form{FSType: kind}, 320*mib)
			target := f.publish()
			must(t, os.WriteFile(target+"/file", []byte("text"), 0o600))
			f.unmount(target)
			f.detach()
			f.v.Bytes = 100 * gib
			must(t, f.e.Apply(t.Context(), f.item, f.v))
			filler := filepath.Join(pool, "filler")
			sh(t, "dd if=/dev/zero of="+filler+" bs=64k 2>/dev/null || true; sync -f "+pool)
			target = f.publish()
			isText(t, target+"/file", "text")
			f.unmount(target)
			f.detach()
			must(t, os.Remove(filler))
			target = f.publish()
			isText(t, target+"/file", "text")
		})
	}
}

// A volume with content has its whole size before it is acknowledged, or is none.
func TestCopiesAreGrown(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			f := one(t, hosttest.XFS(t, 1024, ""), engine.Form{FSType: kind}, 320*mib)
			target := f.publish()
			must(t, os.WriteFile(target+"/file", []byte("text"), 0o600))
			f.unmount(target)
			f.detach()
			larger := f.mkdir("larger")
			from := &engine.Source{Item: f.item, Volume: f.v}
			v, err := f.e.Create(t.Context(), larger, engine.Spec{Bytes: 20 * gib, Form: f.v.Form}, from)
			must(t, err)
			if left := sh(t, "losetup -nO NAME -j "+f.setup.Root.Name()+"/larger/image"); left != "" {
				t.Errorf("devices are left: %s", left)
			}
			f.item, f.v, f.image = larger, v, f.setup.Root.Name()+"/larger/image"
			src, err := f.e.Attach(t.Context(), f.item, f.v, engine.Use{})
			must(t, err)
			root, err := src.OpenRoot()
			must(t, err)
			space, err := root.Space()
			must(t, err)
			if space.Bytes < 18*gib {
				t.Errorf("its filesystem has %d bytes", space.Bytes)
			}
			must(t, root.Close())
			must(t, src.Close())
			f.detach()
		})
	}
	f := one(t, hosttest.XFS(t, 8192, ""), engine.Form{FSType: "ext4"}, 256*mib, "-b", "1024")
	_, err := f.e.Create(t.Context(), f.mkdir("never"), engine.Spec{Bytes: 1100 * gib, Form: f.v.Form}, &engine.Source{Item: f.item, Volume: f.v})
	is(t, err, engine.ErrTooLarge)
}

func TestSizesWithoutSense(t *testing.T) {
	f := one(t, hosttest.Ext4(t, 64, ""), engine.Form{Block: true}, mib)
	if n, err := f.e.Size(1<<63-1, engine.Form{Block: true}); err == nil {
		t.Errorf("%d bytes", n)
	}
}

// label begins each sector of what a pod writes like one of a RAID's member.
const label = "Intel Raid ISM Cfg Sig. 1.3.00"

// What a pod writes into its files decides nothing about its volume.
func TestDataThatLooksLikeALabel(t *testing.T) {
	sector := make([]byte, 512)
	copy(sector, label)
	block := make([]byte, 0, mib)
	for range mib / 512 {
		block = append(block, sector...)
	}
	for _, kind := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			f := one(t, hosttest.XFS(t, 2048, ""), engine.Form{FSType: kind}, 320*mib)
			target := f.publish()
			for bytes := mib; bytes >= 1024; bytes /= 4 {
				must(t, os.MkdirAll(filepath.Join(target, strconv.Itoa(bytes)), 0o755))
			}
			for bytes := mib; bytes >= 1024; bytes /= 4 {
				dir := filepath.Join(target, strconv.Itoa(bytes))
				for i := 0; ; i++ {
					if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), block[:bytes], 0o600); err != nil {
						break
					}
				}
			}
			f.unmount(target)
			f.detach()
			must(t, f.attach(engine.Use{}))
			f.detach()
			copied := f.mkdir("copied")
			v, err := f.e.Create(t.Context(), copied, engine.Spec{Bytes: 640 * mib, Form: f.v.Form}, &engine.Source{Item: f.item, Volume: f.v})
			must(t, err)
			f.item, f.v, f.image = copied, v, f.setup.Root.Name()+"/copied/image"
			must(t, f.attach(engine.Use{}))
			f.detach()
		})
	}
}
