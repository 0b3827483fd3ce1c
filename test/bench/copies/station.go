package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/loop"
	"github.com/hostvol/hostvol/test/daemon"
)

// station is a daemon with one pool, in which the floor works, too.
type station struct {
	*calls
	kind   string // of the pool's filesystem
	root   string // of that filesystem
	pool   string
	floor  floor
	daemon *daemon.Daemon
}

// poolMiB is the size of a pool's filesystem, sparse at first.
const poolMiB = 12 << 10

// within makes a pool of that kind of filesystem below dir, on a loop device, or with "" on the filesystem of dir
// itself, does something with it, and leaves nothing of it.
func within(ctx context.Context, binary, dir, kind string, do func(*station) error) (err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	s := &station{kind: kind, root: dir}
	if kind != "" {
		root, cleanup, err := daemon.LoopFS(dir, kind, poolMiB)
		if err != nil {
			return err
		}
		s.root = root
		defer func() { err = errors.Join(err, cleanup()) }()
	}
	s.pool = filepath.Join(s.root, "pool")
	if err := os.Mkdir(s.pool, 0o755); err != nil {
		return err
	}
	// What is deleted goes when purge says so, not beside what is measured next.
	config := filepath.Join(dir, "config.yaml")
	text := fmt.Sprintf("pools: [{name: bench, path: %s, create: true, overcommit: 1000}]\ntrash: {retention: 24h, purgeRate: -1}\n", s.pool)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	s.daemon, err = daemon.Start(ctx, daemon.Options{
		Binary: binary, Dir: dir, NodeID: "bench",
		Args: []string{"--config", config, "--mode", "single"},
	})
	if err != nil {
		return err
	}
	s.calls = newCalls(ctx, s.daemon.Conn())
	defer func() { err = errors.Join(err, s.end()) }()
	if err := s.floor.open(s.pool, kind); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.floor.close()) }()
	return do(s)
}

// end takes off what an interrupted measurement has left published, and stops the daemon.
func (s *station) end() error {
	var errs []error
	targets, err := os.ReadDir(s.daemon.KubeletDir())
	errs = append(errs, err)
	for _, t := range targets {
		err := unix.Unmount(s.target(t.Name()), unix.UMOUNT_NOFOLLOW)
		if err != nil && !errors.Is(err, unix.EINVAL) { // not mounted
			errs = append(errs, err)
		}
	}
	images, err := filepath.Glob(filepath.Join(s.pool, "volumes", "*", "image"))
	errs = append(errs, err)
	for _, path := range images {
		errs = append(errs, detachAll(path))
	}
	return errors.Join(append(errs, s.daemon.Stop())...)
}

func detachAll(image string) error {
	f, err := os.Open(image)
	if err != nil {
		return err
	}
	defer f.Close()
	devices, err := loop.Find(f)
	for _, d := range devices {
		_, derr := loop.Detach(f, d)
		err = errors.Join(err, derr)
	}
	return err
}

// target is where a volume is published.
func (s *station) target(name string) string { return filepath.Join(s.daemon.KubeletDir(), name) }

// purge removes what was deleted, and writes that out.
func (s *station) purge() error {
	if _, err := s.daemon.Admin(s.ctx, "trash", "purge", "--all"); err != nil {
		return err
	}
	return settle(s.root)
}
