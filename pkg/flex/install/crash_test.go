package install_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/hostvol/hostvol/pkg/flex/install"
	"github.com/hostvol/hostvol/pkg/flex/settings"
)

// Killed at each of its steps: what is shown is whole and runs, or is not there; done
// again it is done, and nothing is left.
func TestKilled(t *testing.T) {
	for _, what := range []string{"install", "upgrade", "replace", "uninstall", "leftover"} {
		t.Run(what, func(t *testing.T) {
			step := 1
			for ; killed(t, what, step); step++ {
				if step > 30 {
					t.Fatal("it does not end")
				}
			}
			t.Logf("%d steps", step-1)
			if step < 4 {
				t.Error("too few steps")
			}
		})
	}
}

// killed does it once, killed at that step; false when it has fewer.
func killed(t *testing.T, what string, step int) bool {
	t.Helper()
	dir := place(t)
	of := filepath.Join(dir, "hostvol~local")
	second := version2(t)
	one := installer(t, dir)
	switch what {
	case "upgrade", "uninstall":
		installed(t, one)
	case "leftover":
		stage := filepath.Join(dir, ".hostvol-flex.new.hostvol~local.ABCDEFGH")
		must(t, errors.Join(os.Mkdir(stage, 0o700), os.WriteFile(filepath.Join(stage, settings.File), nil, 0o600), os.WriteFile(filepath.Join(stage, "local"), nil, 0o755)))
	case "replace":
		must(t, errors.Join(os.Mkdir(of, 0o755), os.WriteFile(filepath.Join(of, "local"), []byte(script), 0o755)))
	}
	child := exec.Command("/proc/self/exe")
	child.Env = append(os.Environ(), killAt+"="+strconv.Itoa(step), killDir+"="+dir, killDo+"="+what)
	out, err := child.CombinedOutput()
	var ended *exec.ExitError
	died := errors.As(err, &ended) && ended.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
	if err != nil && !died {
		t.Fatalf("step %d: %v: %s", step, err, out)
	}
	// What the kubelet would find now.
	for _, name := range entries(t, dir) {
		if strings.HasPrefix(name, ".") {
			continue
		}
		for _, inside := range entries(t, filepath.Join(dir, name)) {
			if !strings.HasPrefix(inside, ".") && inside != "local" {
				t.Errorf("step %d: %s is shown", step, inside)
			}
		}
		if _, err := os.Lstat(filepath.Join(of, "local")); what != "uninstall" || err == nil {
			if out, err := probe(dir, "local"); err != nil {
				t.Errorf("step %d: %v: %s", step, err, out)
			}
		}
	}
	again := one
	switch what {
	case "upgrade":
		again = installer(t, dir, func(o *install.Options) { o.Program = second })
	case "replace":
		again = installer(t, dir, forced)
	case "uninstall":
		_, err := one.Uninstall(t.Context())
		must(t, err)
		if got := entries(t, dir); len(got) != 0 {
			t.Errorf("step %d: left: %v", step, got)
		}
		return died
	}
	installed(t, again)
	if what == "replace" {
		kept := filepath.Join(of, ".local.replaced")
		if text, err := os.ReadFile(kept); err != nil || string(text) != script {
			t.Errorf("step %d: %q %v", step, text, err)
		}
		must(t, os.Remove(kept))
	}
	whole(t, dir, "local", again.Program)
	if got := entries(t, dir); len(got) != 1 {
		t.Errorf("step %d: left: %v", step, got)
	}
	return died
}

// What a killed run has left and somebody has put something into stays, and is told.
func TestLeftoverWithMore(t *testing.T) {
	dir := place(t)
	left := filepath.Join(dir, ".hostvol-flex.new.hostvol~local.ABCDEFGH")
	must(t, os.MkdirAll(filepath.Join(left, "thing"), 0o755))
	must(t, os.Symlink("/etc", filepath.Join(dir, ".hostvol-flex.old.x")))
	i := installer(t, dir)
	done := installed(t, i)
	contains(t, errors.New(strings.Join(done[0].Notes, "\n")), "thing is not of hostvol", "old.x is not a directory")
	whole(t, dir, "local", i.Program)
}
