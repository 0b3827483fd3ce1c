// Package vm tests the built hostvol binary on filesystems with project quotas, XFS and ext4: that sizes are
// enforced there, by whom they can be passed by, that they grow, that project ids are given out safely, and that
// snapshots on XFS share their blocks. And that images grow and are snapshotted while they are written, bind root too,
// and are attached again after a boot.
//
// Few kernels in containers have project quotas, so these tests have the build tag vm and run as root in the virtual
// machine of hack/vm (`make test-vm`). TMPDIR must have room for some filesystems of up to 2 GiB, sparse.
package vm
