package integration

import (
	"os"
	"path/filepath"
	"testing"
)

// An earlier program and this one serve the same pool, one after the other, with volumes in use: neither loses what
// the other has made. HOSTVOL_PREVIOUS_BINARY is the earlier one; without it there is none, and nothing to try.
func TestThePreviousProgram(t *testing.T) {
	previous := os.Getenv("HOSTVOL_PREVIOUS_BINARY")
	if previous == "" {
		t.Skip("HOSTVOL_PREVIOUS_BINARY names no earlier program (make test-previous PREVIOUS=…)")
	}
	for _, order := range [][]string{{"", previous, ""}, {previous, "", previous}} {
		n := newNode(t)
		n.pool = n.filesystem("xfs", 4096)
		n.args = append(n.args, "--pool", "default="+n.pool)
		made := map[string]string{} // volume → filesystem
		for round, binary := range order {
			n.binary = binary
			must(t, n.tryStart())
			for id, fs := range made {
				target := n.target(id)
				must(t, n.publish(id, target, usedAs(formatted(fs)))) // a repeat
				if got := string(head(t, filepath.Join(target, "file"), 4)); got != "text" {
					t.Errorf("%s holds %q", id, got)
				}
				_, err := n.stats(id, target)
				must(t, err)
				second := n.mounted(id, id+"-2", usedAs(formatted(fs)))
				if got := string(head(t, filepath.Join(second, "file"), 4)); got != "text" {
					t.Errorf("%s holds %q", id, got)
				}
				n.unmounted(id, second)
				snap := id + "-s" + string(rune('0'+round))
				n.snapshot(snap, id)
				if fs == "xfs" { // an ext4 grows online where the daemon has CAP_SYS_RESOURCE
					must(t, n.expand(id, 640*mib+int64(round)*32*mib))
				}
				if d := n.devices(id); len(d) != 1 {
					t.Errorf("%s: %v", id, d)
				}
				if got := n.reasons(id); len(got) > 0 {
					t.Errorf("%s: %v", id, got)
				}
			}
			for _, fs := range []string{"ext4", "xfs"} {
				id := fs + "-" + string(rune('0'+round))
				n.volume(id, with("engine", "image"), as(formatted(fs)), bytes(imageSize("xfs")))
				target := n.mounted(id, id, usedAs(formatted(fs)))
				must(t, os.WriteFile(filepath.Join(target, "file"), []byte("text"), 0o600))
				made[id] = fs
			}
			if round < len(order)-1 {
				must(t, n.daemon.Kill())
				n.daemon = nil
			}
		}
		for id := range made {
			n.unmounted(id, n.target(id))
			n.detached(id, "at the end")
			must(t, n.remove(id))
		}
	}
}
