package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"
)

// errPlan stands for what was printed already.
var errPlan = errors.New("not everything is migrated")

// applier carries a plan out.
type applier struct {
	kubectl Kubectl
	dir     string
	out     io.Writer
	// poll is the time between two looks, patience how long one thing is waited for.
	poll, patience time.Duration
}

// apply carries the plan out. Before it changes anything it looks whether all can
// be done. It stops at the first state that it does not expect; what it has done
// until then is found again by the next run.
func (a *applier) apply(ctx context.Context, p *Plan, in *inventory) error {
	var errs []error
	for _, i := range p.Items {
		if err := i.installed(in); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", i.what(), err))
		}
		s, err := a.look(ctx, i)
		if err != nil {
			return err
		}
		if _, _, err := i.decide(s); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", i.what(), err))
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("nothing was changed:\n%w", errors.Join(errs...))
	}
	for _, i := range p.Items {
		if err := a.item(ctx, i); err != nil {
			return fmt.Errorf("%s: %w", i.what(), err)
		}
	}
	files := p.files()
	for _, r := range p.Rewrites {
		if err := a.rewrite(ctx, r, files[r.New.ref()]); err != nil {
			return fmt.Errorf("%s: %w", r.Old.ref(), err)
		}
	}
	return nil
}

// installed tells whether the CSI driver can serve the volume.
func (i *Item) installed(in *inventory) error {
	driver := i.Volume.text("spec", "csi", "driver")
	if !in.drivers[driver] {
		return fmt.Errorf("the cluster has no CSIDriver %s; install that driver first", driver)
	}
	for _, term := range i.Volume.objects("spec", "nodeAffinity", "required", "nodeSelectorTerms") {
		for _, e := range term.objects("matchExpressions") {
			for _, node := range e.texts("values") {
				if e.text("key") == topologyKey && !contains(in.registered[node], driver) {
					return fmt.Errorf("the driver %s is not registered on node %s; is that the node's name, and does the driver run there?", driver, node)
				}
			}
		}
	}
	return nil
}

func contains(all []string, s string) bool {
	for _, one := range all {
		if one == s {
			return true
		}
	}
	return false
}

func (i *Item) decide(s seen) (action, string, error) {
	if i.From == nil {
		return i.nextInline(s)
	}
	return i.next(s)
}

// look reads what the next decision rests on.
func (a *applier) look(ctx context.Context, i *Item) (seen, error) {
	names := []string{i.Volume.name()}
	if i.From != nil {
		names = append(names, i.From.name())
	}
	volumes, err := a.kubectl.volumes(ctx, names...)
	if err != nil {
		return seen{}, err
	}
	in, err := a.kubectl.namespace(ctx, i.Claim.namespace())
	if err != nil {
		return seen{}, err
	}
	s := seen{volume: volumes[i.Volume.name()], old: in.claims[i.Claim.namespace()+"/"+i.Claim.name()]}
	if i.From != nil {
		s.from = volumes[i.From.name()]
	}
	for _, u := range in.using(i.Claim.namespace(), i.Claim.name()) {
		if u.kind() == kindPod {
			s.users = append(s.users, u)
		}
	}
	s.makers = in.makers(i.Claim.namespace(), i.Claim.name())
	return s, nil
}

// item does one step after the other, and looks again before each.
func (a *applier) item(ctx context.Context, i *Item) error {
	fmt.Fprintf(a.out, "%s\n", i.what())
	var waiting time.Time
	for {
		s, err := a.look(ctx, i)
		if err != nil {
			return err
		}
		what, text, err := i.decide(s)
		if err != nil {
			return err
		}
		if what != wait {
			waiting = time.Time{}
		}
		switch what {
		case done:
			fmt.Fprintf(a.out, "  done: claim %s/%s is bound to %s\n", i.Claim.namespace(), i.Claim.name(), i.Volume.name())
			return nil
		case wait:
			if waiting.IsZero() {
				fmt.Fprintf(a.out, "  wait until %s\n", text)
				waiting = time.Now()
			}
			if time.Since(waiting) > a.patience {
				return fmt.Errorf("waited %s until %s, in vain; run this again when that is so", a.patience, text)
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(a.poll):
			}
		default:
			fmt.Fprintf(a.out, "  %s\n", text)
			if err := a.step(ctx, i, what, s); err != nil {
				return err
			}
		}
	}
}

func (a *applier) step(ctx context.Context, i *Item, what action, s seen) error {
	switch what {
	case retain:
		if err := a.keep(s.from, s.old); err != nil {
			return err
		}
		return a.kubectl.patch(ctx, s.from, map[string]any{"persistentVolumeReclaimPolicy": "Retain"})
	case create:
		return a.kubectl.create(ctx, i.Volume)
	case endClaim:
		if err := a.keep(s.from, s.old); err != nil {
			return err
		}
		return a.kubectl.remove(ctx, s.old)
	case claim:
		return a.kubectl.create(ctx, i.Claim)
	default: // endOld
		if err := a.keep(s.from); err != nil {
			return err
		}
		return a.kubectl.remove(ctx, s.from)
	}
}

// keep saves objects before they are changed or deleted.
func (a *applier) keep(objects ...Object) error {
	for _, o := range objects {
		if _, err := save(a.dir, o); err != nil {
			return fmt.Errorf("save %s: %w", o.ref(), err)
		}
	}
	return nil
}

// rewrite changes the template of a workload that has no pods, and tells what else
// is a person's to do. file is that of its new manifest.
func (a *applier) rewrite(ctx context.Context, r *Rewrite, file string) error {
	if r.How == unchanged {
		return nil
	}
	ns := r.Old.namespace()
	live, err := a.kubectl.get(ctx, r.Old.kind(), ns, r.Old.name())
	if err != nil || live == nil {
		return err
	}
	at := append(podSpec(live.kind()), "volumes")
	volumes := replaced(live.list(at...), r.Volumes)
	if same(volumes, live.list(at...)) {
		return nil
	}
	fmt.Fprintf(a.out, "%s\n", r.Old.ref())
	if r.How == byHand {
		fmt.Fprintf(a.out, "  delete it, and create it from its new manifest, %s\n", filepath.Join(a.dir, file))
		return nil
	}
	in, err := a.kubectl.namespace(ctx, ns)
	if err != nil {
		return err
	}
	in.workloads[live.ref()] = live
	var users []Object
	for _, p := range in.pods {
		if active(p) && in.owner(p) == live.ref() {
			users = append(users, p)
		}
	}
	if len(users) > 0 {
		return fmt.Errorf("its volumes are ready, but its template: %w", inUse(users, nil))
	}
	if err := a.keep(live); err != nil {
		return err
	}
	fmt.Fprintln(a.out, "  change its template")
	patch := Object{}
	patch.set(volumes, at[1:]...)
	return a.kubectl.patch(ctx, live, map[string]any(patch))
}
