// Package power cuts the power of a disk and looks at what is left.
//
// A pool lies on a device whose writes are logged (dm-log-writes, see package logwrites). Clients work on its daemon
// and put marks into the log: before each operation, and after each acknowledgement; the daemon, which is this test
// binary again with a hook, puts one at each durable step. Afterwards the disk is built again as it would be had the
// power gone at some moment: with everything that was flushed by then, and nothing, or an arbitrary and torn part, of
// the rest. On each of these disks the daemon is started, and what it serves is compared with the ledger of the
// clients: what was acknowledged before the cut is there, with its size, limit and content; what was deleted is gone;
// what was asked and not acknowledged is wholly there or wholly absent; `hostvol check` finds nothing.
//
// The volumes are of several classes (class_test.go): directories, raw block volumes, also snapshotted in groups, and
// from 40 cuts on ext4 images, snapshotted while they are mounted.
//
// TestOracle shows that the comparison can fail: a daemon whose syncs do nothing, and a ledger with an
// acknowledgement that never was.
//
// The tests have the build tag power and run as root in the virtual machine of hack/vm, which has what they need
// (`make test-power`). TMPDIR must lie on an XFS with reflinks. HOSTVOL_POWER_CUTS sets the number of cuts for all
// filesystems together, HOSTVOL_POWER_SEED what is drawn.
//
// What is not shown: a disk that lies about flushes, or that writes less than 4 KiB whole.
package power
