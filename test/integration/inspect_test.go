package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
)

// looked is where `hostvol inspect --mount` has mounted something.
func (n *node) looked(args ...string) string {
	n.t.Helper()
	out := n.admin(append([]string{"inspect", "--mount"}, args...)...)
	_, path, ok := strings.Cut(out, " read-only at ")
	if !ok {
		n.t.Fatalf("%q", out)
	}
	path, _, _ = strings.Cut(path, ". ")
	return path
}

// A person looks into a volume that no pod uses, and into a snapshot; nothing of them changes, and pods wait.
func TestInspect(t *testing.T) {
	for _, fs := range []string{"ext4", "xfs"} {
		t.Run(fs, func(t *testing.T) {
			t.Parallel()
			n := serveOn(t, "xfs")
			use := formatted(fs)
			n.volume("vol", with("engine", "image"), as(use), bytes(imageSize(fs)))
			target := n.mounted("vol", "pod", usedAs(use))
			must(t, os.WriteFile(filepath.Join(target, "file"), []byte("text"), 0o600))
			if out := n.admin("volumes"); !strings.Contains(out, "(kept mount)") {
				t.Errorf("%s", out)
			}
			if out := n.refused("inspect", "--mount", "vol"); !strings.Contains(out, target) {
				t.Errorf("%s", out)
			}
			n.snapshot("snap", "vol")
			n.unmounted("vol", target)
			path := n.looked("vol")
			for range 2 { // a repeat tells it again
				if again := n.looked("vol"); again != path {
					t.Errorf("%s, then %s", path, again)
				}
			}
			if got := string(head(t, filepath.Join(path, "file"), 4)); got != "text" {
				t.Errorf("%q", got)
			}
			if err := os.WriteFile(filepath.Join(path, "no"), nil, 0o600); !isReadOnly(err) {
				t.Errorf("%v", err)
			}
			want(t, n.publish("vol", target, usedAs(use)), codes.FailedPrecondition, "hostvol inspect --end")
			want(t, n.publish("vol", target, usedAs(use), readOnly), codes.FailedPrecondition, "hostvol inspect --end")
			want(t, n.remove("vol"), codes.FailedPrecondition, path)
			snap := n.looked("--snapshot", "snap")
			if got := string(head(t, filepath.Join(snap, "file"), 4)); got != "text" {
				t.Errorf("%q", got)
			}
			want(t, n.removeSnapshot("snap"), codes.Aborted)
			n.admin("inspect", "--end", "--snapshot", "snap")
			n.admin("inspect", "--end", "--snapshot", "snap")
			f, err := os.Open(filepath.Join(path, "file"))
			must(t, err)
			if out := n.refused("inspect", "--end", "vol"); !strings.Contains(out, "in use") {
				t.Errorf("%s", out)
			}
			must(t, f.Close())
			n.admin("inspect", "--end", "vol")
			n.detached("vol", "after a look into it")
			// The next start of the daemon ends what was begun.
			n.looked("vol")
			n.looked("--snapshot", "snap")
			must(t, n.daemon.Kill())
			n.daemon = nil
			n.start()
			noneLeft(t, n.pool)
			must(t, n.publish("vol", target, usedAs(use)))
			n.unmounted("vol", target)
			must(t, n.removeSnapshot("snap"))
			must(t, n.remove("vol"))
		})
	}
	n := serveOn(t, "btrfs")
	n.volume("dir")
	n.volume("raw", as(manyRaw()))
	n.volume("copied", with("engine", "image"), as(formatted("btrfs")), bytes(imageSize("btrfs")))
	n.snapshot("same", "copied")
	for args, words := range map[string]string{
		"--mount dir": n.pool, "--mount raw": "raw block", "--mount --snapshot same": "make a volume of it",
		"--mount none": "not found", "dir": "--mount or --end", "--mount ../etc": "not found",
	} {
		if out := n.refused(append([]string{"inspect"}, strings.Fields(args)...)...); !strings.Contains(out, words) {
			t.Errorf("%s: %s", args, out)
		}
	}
}

// What keeps a volume mounted goes when nothing uses it any more, without a call.
func TestARoundLetsGo(t *testing.T) {
	n := serveOn(t, "xfs")
	use := formatted("ext4")
	n.volume("vol", with("engine", "image"), as(use))
	target := n.mounted("vol", "pod", usedAs(use))
	must(t, command("umount", target).Run())
	eventually(t, waitRetry, func() string {
		if len(n.devices("vol")) > 0 {
			return "it is still attached"
		}
		return ""
	})
	must(t, n.unpublish("vol", target))
}
