// Package crash kills the daemon and looks at what is left.
//
// The daemon is this test binary again, with a hook in place that production code does not have: it dies by
// SIGKILL at the step that the test has ordered, or at a random moment. After each restart the pool is compared
// with what was acknowledged, from the disk and the mount table as well as by the daemon's own check.
//
// SIGKILL ends a process and nothing else: what it has written stays in the kernel's page cache. So these tests
// show that every step leaves a state from which the next start recovers, and that nothing is acknowledged too
// early for that. They do not show that what was acknowledged survives a power cut; that takes a machine whose
// disk can lose writes.
package crash
