// Command bench measures hostvol's calls through its socket against the floor: the system calls that such a call
// cannot do without, on the same disk, in the same mount namespace and in the same moments.
//
// Each scenario (so many volumes, so many mounts) is a process of its own with its own mount namespace, daemon and
// pool. All stand at the same time, and short batches go round: floor, call, floor, call, scenario by scenario.
// So a slow moment of the machine slows both sides of every ratio.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/hostvol/hostvol/test/daemon"
)

type options struct {
	binary string
	dir    string
	kind   string
	output string
	short  bool
	strict bool
	rounds int
}

func main() {
	var o options
	worker := flag.String("worker", "", "used by bench itself: run the scenario described in JSON")
	flag.StringVar(&o.binary, "binary", "", "the hostvol executable (default: built from this module)")
	flag.StringVar(&o.dir, "dir", "/var/tmp", "where the scratch pools go")
	flag.StringVar(&o.kind, "fs", "", "put the pools on a loop device: ext4, btrfs or xfs (default: as -dir is)")
	flag.StringVar(&o.output, "o", "", "also write a report in JSON to this file")
	flag.BoolVar(&o.short, "short", false, "fewer volumes, mounts and rounds")
	flag.BoolVar(&o.strict, "strict", false, "end with status 1 when a target is missed")
	flag.IntVar(&o.rounds, "rounds", 0, "how many rounds at one caller (default 100, or 20 with -short)")
	flag.Parse()

	signal.Ignore(syscall.SIGPIPE) // a reader that went away must not leave the scratch directory behind
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if *worker != "" {
		err = work(ctx, *worker)
	} else {
		err = bench(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
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
	base, err := os.MkdirTemp(o.dir, "hvb")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(base)) }()
	pools := base
	if o.kind != "" {
		mountpoint, cleanup, err := daemon.LoopFS(base, o.kind, 32<<10)
		if err != nil {
			return err
		}
		defer func() {
			if err := cleanup(); err != nil {
				fmt.Fprintln(os.Stderr, "bench:", err)
			}
		}()
		pools = mountpoint
	}

	report, err := run(ctx, o, base, pools)
	if err != nil {
		return err
	}
	report.print(os.Stdout)
	if o.output != "" {
		if err := writeJSON(o.output, report); err != nil {
			return err
		}
	}
	if missed := report.missed(); o.strict && missed > 0 {
		return fmt.Errorf("%d targets missed", missed)
	}
	return nil
}

func writeJSON(path string, value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
