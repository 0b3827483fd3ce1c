package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
)

// sockets are the files by which the daemon is reached.
func (n *node) sockets() []string {
	return []string{filepath.Join(n.dir, "csi.sock"), filepath.Join(n.dir, "admin.sock")}
}

func TestOnlyRootGetsToTheSockets(t *testing.T) {
	n := serve(t)
	for _, path := range n.sockets() {
		info, err := os.Lstat(path)
		must(t, err)
		if info.Mode().Type() != os.ModeSocket || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v", path, info.Mode())
		}
	}
	for _, dir := range []string{filepath.Join(n.dir, "run"), filepath.Join(n.pool, "volumes")} {
		info, err := os.Lstat(dir)
		must(t, err)
		if info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v", dir, info.Mode())
		}
	}
}

func TestGracefulStop(t *testing.T) {
	n := serve(t, slowly(t)...)
	id := n.volume("vol")
	target := n.mounted(id, "pod")
	n.purging("slow") // in the background, for most of a minute
	begin := time.Now()
	n.stop()
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	for _, path := range n.sockets() {
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
	if got := layers(t, target); got != 1 {
		t.Errorf("%d layers", got)
	}
	must(t, os.WriteFile(filepath.Join(target, "file"), nil, 0o600))
	n.start()
}

// Calls that are under way when the stop begins are answered; later ones are not begun.
func TestStopUnderLoad(t *testing.T) {
	n := serve(t)
	acknowledged := make([][]string, callers)
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			for step := 0; ; step++ {
				id := fmt.Sprintf("vol-%d-%d", i, step)
				_, err := n.create(id)
				if err != nil {
					oneOf(t, err, codes.Unavailable, codes.Canceled)
					return
				}
				acknowledged[i] = append(acknowledged[i], id)
			}
		})
	}
	eventually(t, waitPurge, func() string {
		if entries, err := os.ReadDir(filepath.Join(n.pool, "volumes")); err != nil || len(entries) < 100 {
			return fmt.Sprint(len(entries), err)
		}
		return ""
	})
	n.stop()
	all.Wait()
	n.start()
	for _, ids := range acknowledged {
		for _, id := range ids {
			if _, err := n.get(id); err != nil {
				t.Error(err)
			}
		}
	}
}

// What a killed daemon has left is in nobody's way.
func TestStartAfterAKill(t *testing.T) {
	n := serve(t)
	id := n.volume("vol")
	must(t, n.daemon.Kill())
	for _, path := range n.sockets() {
		if _, err := os.Lstat(path); err != nil {
			t.Error(err)
		}
	}
	must(t, os.Mkdir(filepath.Join(n.pool, "staging/half"), 0o755))
	must(t, os.MkdirAll(filepath.Join(n.pool, "staging/more/data/x"), 0o755))
	n.restart()
	if _, err := n.get(id); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(filepath.Join(n.pool, "staging")); err != nil || len(left) > 0 {
		t.Errorf("staging: %v %v", left, err)
	}
	n.volume("half")
}

// A stop does not wait for an administrator's command that takes long; its work goes on after the next start.
func TestStopUnderAnAdministratorsCommand(t *testing.T) {
	n := newNode(t)
	n.start("--pool", "default="+n.pool, "--config", writeConfig(t, "trash: {retention: 1h, purgeRate: 1}"))
	n.volume("vol")
	for i := range 50 {
		must(t, os.WriteFile(filepath.Join(n.pool, "volumes/vol/data", fmt.Sprint(i)), nil, 0o600))
	}
	must(t, n.remove("vol"))
	done := make(chan error, 1)
	go func() {
		_, err := n.daemon.Admin(t.Context(), "trash", "purge", "vol")
		done <- err
	}()
	eventually(t, waitPurge, func() string { return differ(n.trash()[0].Purging, true) })
	begin := time.Now()
	n.restart()
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	if err := <-done; err == nil {
		t.Error("the command was told that the purge has ended")
	}
	if e := n.trash(); len(e) != 1 || !e[0].Purging {
		t.Errorf("%+v", e)
	}
}
