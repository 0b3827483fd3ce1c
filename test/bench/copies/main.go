// Command copies measures what takes hostvol long: snapshots, restores and clones against cp and the bare system
// calls on the same disk, raw block devices, and the way of data through an image.
//
// Ours and the floor go in turn, again and again, so that a slow moment of the machine slows both sides of a ratio.
// What a floor is made of is said where it is, in floor.go and block.go. Pools lie on loop devices over files below
// -dir, one after the other; but data is measured in a pool on the filesystem of -dir itself.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/test/daemon"
)

type options struct {
	binary string
	dir    string
	output string
	pools  string
	parts  string
	short  bool
	strict bool
}

func main() {
	var o options
	flag.StringVar(&o.binary, "binary", "", "the hostvol executable (default: built from this module)")
	flag.StringVar(&o.dir, "dir", "/var/tmp", "where the scratch pools go; up to 9 GiB at a time")
	flag.StringVar(&o.output, "o", "", "also write a report in JSON to this file")
	flag.StringVar(&o.pools, "pools", "ext4,xfs,btrfs", "which pools to measure")
	flag.StringVar(&o.parts, "parts", "copies,block,data", "which parts to measure")
	flag.BoolVar(&o.short, "short", false, "64 MiB and 1000 files only, and fewer repeats")
	flag.BoolVar(&o.strict, "strict", false, "end with status 1 when a target is missed")
	flag.Parse()

	signal.Ignore(syscall.SIGPIPE) // a reader that went away must not leave the scratch directory behind
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "copies:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context, o options) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("needs root: it mounts file systems")
	}
	if o.binary, err = daemon.FindBinary(ctx, o.binary); err != nil {
		return err
	}
	base, err := os.MkdirTemp(o.dir, "hvc")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(base)) }()

	r := newReport(o.dir)
	if err := measure(ctx, o, base, r); err != nil {
		return err
	}
	r.print(os.Stdout)
	if o.output != "" {
		if err := writeJSON(o.output, r); err != nil {
			return err
		}
	}
	if missed := r.missed(); o.strict && missed > 0 {
		return fmt.Errorf("%d targets missed", missed)
	}
	return nil
}

func measure(ctx context.Context, o options, base string, r *report) error {
	p := newPlan(o.short)
	asked := func(part string) bool { return strings.Contains(o.parts, part) }
	for _, kind := range strings.Split(o.pools, ",") {
		err := within(ctx, o.binary, filepath.Join(base, kind), kind, func(s *station) error {
			if asked("copies") {
				if err := s.measureCopies(p, r); err != nil {
					return err
				}
			}
			if asked("block") {
				return s.measureBlock(p, r)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
	}
	if !asked("data") {
		return nil
	}
	return within(ctx, o.binary, filepath.Join(base, "disk"), "", func(s *station) error { return s.measureData(p, r) })
}

func writeJSON(path string, value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// progress shows on a terminal what goes on.
func progress(format string, args ...any) {
	if info, err := os.Stderr.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		fmt.Fprintf(os.Stderr, "\r\x1b[K"+format, args...)
	}
}

// settle writes out what an earlier step has left, so that the next does not pay for it.
func settle(dir string) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(fd), unix.Close(fd))
}
