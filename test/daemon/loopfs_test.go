package daemon

import (
	"os"
	"path/filepath"
	"testing"
)

func TestLoopFS(t *testing.T) {
	for kind, sizeMiB := range map[string]int{"btrfs": 256, "xfs": 320, "ext4": 64} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			mountpoint, cleanup, err := LoopFS(dir, kind, sizeMiB)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(mountpoint, "file"), []byte("x"), 0o600); err != nil {
				t.Error(err)
			}
			if len(LoopDevices(dir)) != 1 {
				t.Errorf("loop devices of %s: %v, want one", dir, LoopDevices(dir))
			}
			for range 2 {
				if err := cleanup(); err != nil {
					t.Error(err)
				}
			}
			if left, _ := os.ReadDir(dir); len(left) > 0 || len(LoopDevices(dir)) > 0 {
				t.Errorf("left behind: %v %v", left, LoopDevices(dir))
			}
		})
	}
}
