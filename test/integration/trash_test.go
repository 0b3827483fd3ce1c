package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// deleted makes a volume with a file that says what it is, and deletes it.
func (n *node) deleted(id, text string) {
	n.t.Helper()
	n.volume(id)
	target := n.mounted(id, "writer")
	must(n.t, os.WriteFile(filepath.Join(target, "file"), []byte(text), 0o600))
	n.unmounted(id, target)
	must(n.t, n.remove(id))
}

// content is what the file of such a volume says.
func (n *node) content(id string) string {
	n.t.Helper()
	target := n.mounted(id, "reader", readOnly)
	text, err := os.ReadFile(filepath.Join(target, "file"))
	must(n.t, err)
	n.unmounted(id, target)
	return string(text)
}

func keeping(t *testing.T) []string {
	return []string{"--config", writeConfig(t, "trash: {retention: 1h}")}
}

// What no claim stands for, an administrator deletes.
func TestDeleteByHand(t *testing.T) {
	n := serveOn(t, "ext4", keeping(t)...)
	n.volume("vol")
	target := n.mounted("vol", "writer")
	must(t, os.WriteFile(filepath.Join(target, "file"), []byte("dear"), 0o600))
	if out := n.refused("delete", "vol"); !strings.Contains(out, "in use") {
		t.Errorf("while it is mounted: %s", out)
	}
	n.unmounted("vol", target)
	if out := n.admin("delete", "vol"); !strings.Contains(out, "Volume vol is deleted") {
		t.Errorf("%s", out)
	}
	if out := n.refused("delete", "vol"); !strings.Contains(out, "not found") {
		t.Errorf("again: %s", out)
	}
	n.admin("trash", "restore", "vol")
	if got := n.content("vol"); got != "dear" {
		t.Errorf("%q", got)
	}
}

func TestUndelete(t *testing.T) {
	for _, kind := range []string{"ext4", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			n := serveOn(t, kind, keeping(t)...)
			n.deleted("vol", "dear")
			must(t, n.remove("vol"))
			if _, err := n.get("vol"); err == nil {
				t.Error("the volume is still there")
			}
			n.restart()
			if e := n.trash(); len(e) != 1 || e[0].ID != "vol" || e[0].Purging || e[0].Bytes != 16*mib {
				t.Fatalf("%+v", e)
			}
			if out := n.admin("trash", "restore", "vol"); !strings.Contains(out, "vol is back in pool default") {
				t.Errorf("%s", out)
			}
			if got := n.content("vol"); got != "dear" {
				t.Errorf("%q", got)
			}
			n.refused("trash", "restore", "vol")
			n.restart()
			if got := n.content("vol"); got != "dear" {
				t.Errorf("after a restart: %q", got)
			}
			n.volume("vol") // it is the same volume for a repeated create
			must(t, n.remove("vol"))
			n.admin("trash", "purge", "--all")
			n.empty()
		})
	}
}

func TestUndeleteWhenTheIDExistsAgain(t *testing.T) {
	n := serve(t, keeping(t)...)
	n.deleted("vol", "old")
	n.volume("vol")
	if out := n.refused("trash", "restore", "vol"); !strings.Contains(out, "delete it first") {
		t.Errorf("%s", out)
	}
	if len(n.trash()) != 1 {
		t.Errorf("%+v", n.trash())
	}
	must(t, n.remove("vol"))
	entries := n.trash()
	if len(entries) != 2 {
		t.Fatalf("%+v", entries)
	}
	out := n.refused("trash", "restore", "vol")
	for _, e := range entries {
		if !strings.Contains(out, e.Name) {
			t.Errorf("not told: %s in %s", e.Name, out)
		}
	}
	n.admin("trash", "restore", entries[0].Name)
	if got := n.content("vol"); got != "old" {
		t.Errorf("%q", got)
	}
}

func TestTheSameIDManyTimesInTheTrash(t *testing.T) {
	n := serve(t, keeping(t)...)
	for i := range 3 {
		n.deleted("vol", fmt.Sprint(i))
	}
	entries := n.trash()
	n.admin("trash", "restore", entries[1].Name)
	if got := n.content("vol"); got != "1" {
		t.Errorf("%q", got)
	}
	must(t, n.remove("vol"))
	n.admin("trash", "purge", entries[0].Name)
	for _, e := range n.trash() {
		if e.Name == entries[0].Name {
			t.Errorf("%s is left", e.Name)
		}
	}
	n.refused("trash", "purge", entries[0].Name)
	n.refused("trash", "restore", "../volumes")
	n.refused("trash", "purge", "never-there")
	n.refused("trash", "purge")
}

// slowly has the purge remove one file in a second.
func slowly(t *testing.T) []string {
	return []string{"--config", writeConfig(t, "trash: {purgeRate: 1}")}
}

// purging makes a volume whose purge has begun and takes long.
func (n *node) purging(id string) {
	n.t.Helper()
	n.volume(id)
	for i := range 50 {
		must(n.t, os.WriteFile(filepath.Join(n.pool, "volumes", id, "data", fmt.Sprint(i)), nil, 0o600))
	}
	must(n.t, n.remove(id))
	eventually(n.t, waitPurge, func() string {
		if e := n.trash(); len(e) != 1 || !e[0].Purging {
			return fmt.Sprintf("%+v", e)
		}
		return ""
	})
}

func TestUndeleteWhenThePurgeHasBegun(t *testing.T) {
	n := serve(t, slowly(t)...)
	n.purging("vol")
	if out := n.refused("trash", "restore", "vol"); !strings.Contains(out, "purge has begun") {
		t.Errorf("%s", out)
	}
	n.restart()
	if out := n.refused("trash", "restore", "vol"); !strings.Contains(out, "purge has begun") {
		t.Errorf("after a restart: %s", out)
	}
	n.volume("vol") // the id is free
	n.volume("other")
	must(t, n.remove("vol"))
}

func TestThePurgeGoesOnAfterARestart(t *testing.T) {
	n := serve(t, slowly(t)...)
	n.purging("vol")
	must(t, n.daemon.Kill())
	n.restart()
	if e := n.trash(); len(e) != 1 || !e[0].Purging {
		t.Fatalf("%+v", e)
	}
	n.stop()
	n.args = n.args[:4] // at full speed
	n.start()
	n.empty()
}

func TestRetention(t *testing.T) {
	for retention := 2 * time.Second; ; retention *= 2 {
		n := serve(t, "--config", writeConfig(t, fmt.Sprintf("trash: {retention: %v}", retention)))
		n.volume("vol")
		begin := time.Now()
		must(t, n.remove("vol"))
		e := n.trash()
		if len(e) == 1 && !e[0].Purging {
			n.restart()
			n.emptyWithin(retention + waitPurge)
			return
		}
		if took := time.Since(begin); took < retention || retention > 10*time.Second {
			t.Fatalf("%+v after %v", e, took)
		}
		// The answer came too late to tell anything.
	}
}

// A purge removes everything, whatever a pod has made, and nothing that a link shows.
func TestPurgeOfWhatAPodHasMade(t *testing.T) {
	for _, kind := range []string{"ext4", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			n := serveOn(t, kind)
			out := canary(t)
			id := n.volume("vol")
			target := n.mounted(id, "pod")
			must(t, os.MkdirAll(filepath.Join(target, "a/b/c"), 0o000))
			must(t, os.Symlink(out, filepath.Join(target, "a/out")))
			must(t, os.Symlink("/", filepath.Join(target, "root")))
			must(t, os.WriteFile(filepath.Join(target, "immutable"), []byte("x"), 0o400))
			run(t, "chattr", "+i", filepath.Join(target, "immutable"))
			if kind == "btrfs" {
				run(t, "btrfs", "subvolume", "create", filepath.Join(target, "nested"))
				run(t, "btrfs", "subvolume", "create", filepath.Join(target, "nested/deeper"))
			}
			n.unmounted(id, target)
			must(t, n.remove(id))
			n.empty()
			if left, err := os.ReadDir(filepath.Join(n.pool, "trash")); err != nil || len(left) > 0 {
				t.Errorf("%v %v", left, err)
			}
		})
	}
}
