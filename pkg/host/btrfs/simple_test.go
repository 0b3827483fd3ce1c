package btrfs

import (
	"testing"

	"github.com/hostvol/hostvol/pkg/host/hosttest"
)

func TestSimpleQuota(t *testing.T) {
	root := hosttest.Open(t, hosttest.BtrfsNoQuota(t, 128))
	args := quotaCtlArgs{cmd: 4} // BTRFS_QUOTA_CTL_ENABLE_SIMPLE_QUOTA, kernel 6.7
	if err := ioctl(root, iocQuotaCtl, &args); err != nil {
		t.Fatal(err)
	}
	if m, err := QuotaMode(root); err != nil || m != Simple {
		t.Errorf("mode %v, %v", m, err)
	}
	if err := EnableQuota(root); err != nil {
		t.Error(err)
	}
	if m, err := QuotaMode(root); err != nil || m != Simple {
		t.Errorf("mode after enabling again: %v, %v", m, err)
	}
}
