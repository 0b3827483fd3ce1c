package flex

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/host/run"
)

// Remote is a filesystem of a server, which mount(8) mounts with the server's
// helper program.
type Remote struct {
	// Types are its names: the first is for mount(8), all may stand in the mount
	// table.
	Types []string
	// Source is what is mounted, in the helper's own form.
	Source   string
	Options  []string
	ReadOnly bool
	// Env is for the helper.
	Env []string
	// Files are its descriptors from RemoteFD on.
	Files []*os.File
}

// RemoteFD is the first descriptor of Remote.Files.
const RemoteFD = 3

// undoTime is how long a call that has failed may take to undo what it has done.
const undoTime = 4 * time.Second

// mountProgram is mount(8).
const mountProgram = "mount"

// Mount mounts it on the target. What is mounted there already and is the same is
// success; something else is an error and stays. After nil the mount table has
// exactly this; after an error nothing is mounted, if the server lets that be done.
func (r Remote) Mount(ctx context.Context, t *Target) error {
	layers, err := t.Layers()
	if err != nil {
		return err
	}
	if len(layers) > 0 {
		return r.same(t, layers[len(layers)-1])
	}
	if err := t.Prepare(); err != nil {
		return err
	}
	options := r.Options
	if r.ReadOnly {
		options = append(slices.Clone(options), "ro")
	}
	argv := []string{mountProgram, "-t", r.Types[0]}
	if len(options) > 0 {
		argv = append(argv, "-o", strings.Join(options, ","))
	}
	out, err := run.Do(ctx, run.Program{Argv: append(argv, "--", r.Source, t.Path), Env: r.Env, Files: r.Files, Lock: t.lock.file})
	if err == nil {
		err = r.verify(t)
	} else {
		err = r.explain(err, out)
	}
	if err == nil {
		return nil
	}
	undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	return errors.Join(err, t.Clear(undo))
}

func (r Remote) explain(err error, out string) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("mount %s: its server has not answered in time: %w: %s", r.Source, err, out)
	case errors.Is(err, run.ErrNoProgram) || strings.Contains(out, "helper program"):
		return fmt.Errorf("mount %s: the node lacks mount or mount.%s; install nfs-common or cifs-utils on it: %w: %s", r.Source, r.Types[0], err, out)
	}
	return fmt.Errorf("mount %s: %w: %s", r.Source, err, out)
}

// verify looks at what a successful mount(8) has really done.
func (r Remote) verify(t *Target) error {
	layers, err := t.Layers()
	switch {
	case err != nil:
		return err
	case len(layers) == 0:
		return fmt.Errorf("mount %s: mount reported success, and nothing is mounted at %s", r.Source, t.Path)
	case len(layers) > 1:
		return fmt.Errorf("mount %s: %d mounts lie on %s", r.Source, len(layers), t.Path)
	}
	return r.same(t, layers[0])
}

// same checks that a mount is what is wanted.
func (r Remote) same(t *Target, e mount.Entry) error {
	switch {
	case !slices.Contains(r.Types, e.Type) || withoutSlash(e.Source) != withoutSlash(r.Source):
		return fmt.Errorf("something else is mounted at %s (%s, %s), not %s; it stays as it is", t.Path, e.Type, e.Source, r.Source)
	case e.ReadOnly != r.ReadOnly:
		return fmt.Errorf("%s is mounted at %s %s already, where %s is asked; unmount it first", r.Source, t.Path, mode(e.ReadOnly), mode(r.ReadOnly))
	}
	return nil
}

func mode(readOnly bool) string {
	if readOnly {
		return "read-only"
	}
	return "writable"
}

func withoutSlash(source string) string {
	if short := strings.TrimRight(source, "/"); !strings.HasSuffix(short, ":") {
		return short
	}
	return source
}
