// Package umask sets the process's file mode creation mask. It belongs to the
// whole process, so only what runs at start-up may use it.
package umask

import "golang.org/x/sys/unix"

// Clear sets the mask to nothing: whatever mode is given then is the mode that
// a new file or directory gets.
func Clear() { unix.Umask(0) }

// With calls f with the mask set.
func With(mask int, f func()) {
	before := unix.Umask(mask)
	defer unix.Umask(before)
	f()
}
