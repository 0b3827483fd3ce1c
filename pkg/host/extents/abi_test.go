package extents

import (
	"testing"
	"unsafe"
)

// The numbers are what a C compiler gives for the kernel's headers.
func TestLayouts(t *testing.T) {
	for _, c := range []struct {
		name      string
		got, want uintptr
	}{
		{"fiemap_extent", unsafe.Sizeof(fiemapExtent{}), 56},
		{"fiemap_extent.fe_flags", unsafe.Offsetof(fiemapExtent{}.flags), 40},
		{"fiemap.fm_mapped_extents", unsafe.Offsetof(fiemapPage{}.mapped), 20},
		{"fiemap.fm_extents", unsafe.Offsetof(fiemapPage{}.extents), 32},
		{"fsxattr", unsafe.Sizeof(attributes{}), 28},
		{"btrfs_ioctl_fs_info_args", unsafe.Sizeof(btrfsInfo{}), 1024},
		{"btrfs_ioctl_fs_info_args.fsid", unsafe.Offsetof(btrfsInfo{}.fsid), 16},
	} {
		if c.got != c.want {
			t.Errorf("%s = %d, want %d", c.name, c.got, c.want)
		}
	}
}
