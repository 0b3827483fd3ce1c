package quota

import (
	"math"
	"testing"
	"unsafe"
)

// The numbers are what a C compiler gives for linux/dqblk_xfs.h and linux/fs.h.
func TestLayouts(t *testing.T) {
	for _, c := range []struct {
		name      string
		got, want uintptr
	}{
		{"fs_disk_quota", unsafe.Sizeof(diskQuota{}), 112},
		{"fs_disk_quota.d_blk_hardlimit", unsafe.Offsetof(diskQuota{}.blockHard), 8},
		{"fs_disk_quota.d_bcount", unsafe.Offsetof(diskQuota{}.blocks), 40},
		{"fs_disk_quota.d_icount", unsafe.Offsetof(diskQuota{}.inodes), 48},
		{"fs_disk_quota.d_rtb_hardlimit", unsafe.Offsetof(diskQuota{}.rtHard), 72},
		{"fs_disk_quota.d_rtbtimer", unsafe.Offsetof(diskQuota{}.rtTimer), 96},
		{"fs_quota_statv", unsafe.Sizeof(quotaState{}), 160},
		{"fs_quota_statv.qs_flags", unsafe.Offsetof(quotaState{}.flags), 2},
		{"fs_quota_statv.qs_pquota", unsafe.Offsetof(quotaState{}.project), 56},
		{"fs_quota_statv.qs_btimelimit", unsafe.Offsetof(quotaState{}.blockLimit), 80},
		{"fsxattr", unsafe.Sizeof(attributes{}), 28},
		{"fsxattr.fsx_projid", unsafe.Offsetof(attributes{}.project), 12},
		{"file_attr", unsafe.Sizeof(fileAttr{}), 24},
		{"file_attr.fa_projid", unsafe.Offsetof(fileAttr{}.project), 16},
		{"Q_XGETQUOTA", qXGetQuota, 0x5803},
		{"Q_XSETQLIM", qXSetLimit, 0x5804},
		{"Q_XGETQSTATV", qXGetStateV, 0x5808},
	} {
		if c.got != c.want {
			t.Errorf("%s = %#x, want %#x", c.name, c.got, c.want)
		}
	}
}

func TestBlocks(t *testing.T) {
	for _, c := range []struct {
		bytes, unit int64
		blocks      uint64
	}{
		{0, 4096, 0}, {1, 4096, 8}, {4096, 4096, 8}, {4097, 4096, 16}, {513, 512, 2},
		{1 << 30, 4096, 2 << 20}, {math.MaxInt64 - 4096, 4096, math.MaxInt64/512 - 7},
	} {
		if got := toBlocks(c.bytes, c.unit); got != c.blocks {
			t.Errorf("%d bytes in units of %d: %d blocks, want %d", c.bytes, c.unit, got, c.blocks)
		}
	}
	if got := fromBlocks(math.MaxUint64); got != math.MaxInt64 {
		t.Errorf("from the largest count: %d", got)
	}
	if got := fromBlocks(16); got != 8192 {
		t.Errorf("from 16 blocks: %d", got)
	}
}

func TestSourceOf(t *testing.T) {
	for _, c := range []struct{ line, source string }{
		{"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue", "/dev/root"},
		{"36 35 98:0 / / rw - xfs /dev/my\\040disk rw", "/dev/my disk"},
		{"36 35 98:1 / / rw - xfs /dev/other rw", ""},
		{"", ""},
		{"36 35 98:0 / / rw -", ""},
	} {
		if got, ok := sourceOf(c.line, "98:0"); got != c.source || ok != (c.source != "") {
			t.Errorf("%q: %q, %v", c.line, got, ok)
		}
	}
}
