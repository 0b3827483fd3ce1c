package integration

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
)

// The pool's file system is read-only, as the kernel makes it after an error, when the daemon starts or while it
// runs.
func TestAReadOnlyPool(t *testing.T) {
	for _, when := range []string{"at the start", "while it runs"} {
		for _, kind := range []string{"ext4", "btrfs"} {
			t.Run(when+" "+kind, func(t *testing.T) {
				t.Parallel()
				n := newNode(t)
				n.pool = n.filesystem(kind, 768)
				n.start("--pool", "default="+n.pool)
				id := n.volume("vol")
				target := n.mounted(id, "pod")
				must(t, os.WriteFile(filepath.Join(target, "file"), []byte("x"), 0o600))
				n.unmounted(id, target)
				if when == "at the start" {
					n.stop()
				}
				eventually(t, waitPurge, func() string { // see unmounted
					if err := unix.Mount("", n.pool, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
						return err.Error()
					}
					return ""
				})
				if when == "at the start" {
					n.start()
				}

				want(t, n.publish(id, target), codes.FailedPrecondition, "read-only")
				must(t, n.publish(id, target, readOnly))
				if _, err := os.ReadFile(filepath.Join(target, "file")); err != nil {
					t.Error(err)
				}
				if _, err := n.stats(id, target); err != nil {
					t.Error(err)
				}
				_, err := n.create("new")
				want(t, err, codes.FailedPrecondition, "read-only")
				want(t, n.expand(id, 64*mib), codes.FailedPrecondition, "read-only")
				n.unmounted(id, target)
				want(t, n.remove(id), codes.FailedPrecondition, "read-only")
				n.volume("vol")
				if n.storage()["PoolReadOnly"] == "" {
					t.Errorf("storage health: %v", n.storage())
				}
				if got := n.reasons(id); len(got) == 0 || got[0] != "PoolReadOnly" {
					t.Errorf("volume health: %v", got)
				}

				n.stop()
				must(t, unix.Mount("", n.pool, "", unix.MS_REMOUNT, ""))
				n.start()
				must(t, n.publish(id, target))
				n.unmounted(id, target)
				must(t, n.remove(id))
				n.empty()
			})
		}
	}
}
