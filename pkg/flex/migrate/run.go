package migrate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Request is one call of the program.
type Request struct {
	Options
	// Files with objects; "-" is the standard input.
	Files []string
	// FromCluster reads the cluster; what it has wins over the files.
	FromCluster bool
	Kubectl     Kubectl
	// Dir takes the manifests, and with Apply the old objects.
	Dir string
	// Apply carries the plan out.
	Apply bool
	// Poll is the time between two looks at the cluster, a second if 0.
	Poll time.Duration
}

// Run reads, plans and prints the plan; it writes it to Dir, and carries it out if
// that is asked for. Then an error tells that something is left to do.
func Run(ctx context.Context, r Request, stdin io.Reader, out io.Writer) error {
	if err := r.check(); err != nil {
		return err
	}
	var objects []Object
	if r.FromCluster {
		all, err := r.Kubectl.all(ctx)
		if err != nil {
			return err
		}
		objects = all
	}
	for _, f := range r.Files {
		all, err := readFile(f, stdin)
		if err != nil {
			return err
		}
		objects = append(objects, all...)
	}
	plan := New(r.Options, objects)
	if r.Dir != "" {
		if err := plan.Write(r.Dir, r.Kubectl.String()); err != nil {
			return fmt.Errorf("write the manifests: %w", err)
		}
	}
	if !r.Apply {
		if err := plan.Print(out, r.Kubectl.String()); err != nil {
			return err
		}
		_, err := fmt.Fprintln(out, "\nNothing was done. Read the warnings, then repeat with --from-cluster --apply, or do the steps by hand.")
		return err
	}
	return r.carryOut(ctx, plan, take(objects), out)
}

func (r *Request) carryOut(ctx context.Context, plan *Plan, in *inventory, out io.Writer) error {
	a := &applier{kubectl: r.Kubectl, dir: r.Dir, out: out, poll: r.Poll, patience: 2 * time.Minute}
	if a.poll == 0 {
		a.poll = time.Second
	}
	if err := a.apply(ctx, plan, in); err != nil {
		return err
	}
	for _, l := range plan.Refused {
		fmt.Fprintf(out, "not migrated: %s: %s\n", oneLine(l.What), oneLine(l.Why))
	}
	for _, l := range plan.Stay {
		fmt.Fprintf(out, "stays: %s: %s\n", oneLine(l.What), oneLine(l.Why))
	}
	if len(plan.Refused) > 0 {
		return fmt.Errorf("%w: %d refused, as told above", errPlan, len(plan.Refused))
	}
	return nil
}

func (r *Request) check() error {
	switch {
	case len(r.Files) == 0 && !r.FromCluster:
		return errors.New("give files with -f, or --from-cluster")
	case r.Apply && !r.FromCluster:
		return errors.New("--apply changes the cluster as it is now: give --from-cluster as well")
	case r.Apply && r.Dir == "":
		return errors.New("--apply keeps the old objects in files: give a directory with -o")
	}
	for key, size := range r.SizeOf {
		if _, err := parseQuantity(size); err != nil {
			return fmt.Errorf("--size-of %s: %w", key, err)
		}
	}
	return nil
}

func readFile(name string, stdin io.Reader) ([]Object, error) {
	var data []byte
	var err error
	if name == "-" {
		data, err = io.ReadAll(stdin)
	} else {
		data, err = os.ReadFile(name)
	}
	if err != nil {
		return nil, err
	}
	return Read(name, data)
}

// same compares what JSON can say.
func same(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}
