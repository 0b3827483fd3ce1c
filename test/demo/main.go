// Command demo walks a volume through its life on a scratch pool, with a real daemon and real mounts, and says at
// each step what was asked, what happened and how long it took. No Kubernetes is needed.
//
// It ends with status 1 when a step does not do what it should, and removes everything it made.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/hostvol/hostvol/test/daemon"
)

func main() {
	binary := flag.String("binary", "", "the hostvol executable (default: built from this module)")
	verbose := flag.Bool("v", false, "show the daemon's log at the end")
	flag.Parse()

	signal.Ignore(syscall.SIGPIPE) // a reader that went away must not leave the scratch directory behind
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := demo(ctx, *binary, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		os.Exit(1)
	}
}

func demo(ctx context.Context, binary string, verbose bool) (err error) {
	begin := time.Now()
	if os.Geteuid() != 0 {
		return errors.New("needs root: it mounts file systems")
	}
	if binary, err = daemon.FindBinary(ctx, binary); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "hostvol-demo-")
	if err != nil {
		return err
	}
	w := &walk{show: newShow(os.Stdout), binary: binary, dir: dir}
	removePool := w.preparePool()
	defer func() {
		if w.daemon != nil && verbose {
			fmt.Print("\nthe daemon's log:\n", w.daemon.Log())
		}
		err = errors.Join(err, w.abandon(), removePool(), nothingLeft(dir))
		if err == nil {
			fmt.Printf("\nAll %d steps did what they should, in %.1f s. Nothing is left: no mount, no loop device, no file.\n",
				w.show.steps, time.Since(begin).Seconds())
		}
	}()
	for _, s := range w.steps() {
		if s.limit && !w.enforced {
			continue
		}
		if err := w.show.step(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s.title, err)
		}
	}
	return nil
}

// preparePool makes the directory of the pool: on btrfs over a loop device, where the kernel enforces sizes, or
// else in the scratch directory, and says why. The function it returns removes the file system.
func (w *walk) preparePool() func() error {
	mountpoint, cleanup, err := daemon.LoopFS(w.dir, "btrfs", 2048)
	if err == nil {
		w.enforced = true
		w.pool = filepath.Join(mountpoint, "pool")
		w.show.note("The pool lies on btrfs over a loop device, so the kernel enforces sizes.")
		return cleanup
	}
	w.pool = filepath.Join(w.dir, "pool")
	w.show.note("No btrfs over a loop device here (" + err.Error() + "). The pool is a plain directory: sizes are " +
		"recorded but not enforced, and the steps about the limit are left out.")
	return func() error { return nil }
}

// nothingLeft removes the scratch directory and verifies that no mount and no loop device refers to it.
func nothingLeft(dir string) error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for _, line := range strings.Split(string(mounts), "\n") {
		if strings.Contains(line, " "+dir+"/") {
			return fmt.Errorf("a mount is left behind: %s", line)
		}
	}
	if devices := daemon.LoopDevices(dir); len(devices) > 0 {
		return fmt.Errorf("loop devices are left behind: %v", devices)
	}
	if err := os.RemoveAll(dir); err != nil { // no mount below it, as just seen
		return err
	}
	return nil
}
