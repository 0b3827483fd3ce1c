package migrate

import (
	"errors"
	"fmt"
	"strings"
)

// seen is what the cluster says of one item at one moment.
type seen struct {
	from, old Object   // the old volume; the claim of the name, old or new
	volume    Object   // the new one
	users     []Object // running pods
	makers    []string // workloads that make such pods, and how to stop them
}

// action is the next thing to do for an item.
type action int

const (
	done     action = iota
	wait            // for somebody else: a controller, a finalizer
	retain          // set the reclaim policy of the old volume
	create          // the new volume
	endClaim        // delete the old claim
	claim           // create the new claim
	endOld          // delete the old volume's object
)

// next decides what is to be done for a claimed volume, from nothing but what the
// cluster shows. Every step leads to a state that it knows, so a run that was
// killed goes on where it was. text tells what is waited for, or what is done.
// An error is a state that was not expected; nothing was changed then.
func (i *Item) next(s seen) (action, string, error) {
	if err := i.strange(s); err != nil {
		return done, "", err
	}
	bound := s.old.text("spec", "volumeName")
	switch {
	case s.old == nil && s.volume == nil:
		return done, "", fmt.Errorf("claim %s/%s is gone, and not by this program; nothing was changed", i.Claim.namespace(), i.Claim.name())
	case s.old == nil:
		return claim, "create the new claim", nil
	case s.old.leaving():
		return wait, "claim " + s.old.name() + " goes when " + finalizers(s.old), nil
	case bound == i.Volume.name():
		return i.finish(s)
	case s.from == nil || i.From.name() != bound:
		return done, "", fmt.Errorf("%s is bound to %q, neither the old volume nor the new one; was it made anew meanwhile?", s.old.ref(), bound)
	case len(s.users)+len(s.makers) > 0: // a StatefulSet would make the claim anew, with an empty volume
		return done, "", inUse(s.users, s.makers)
	case s.from.text("spec", "persistentVolumeReclaimPolicy") != "Retain":
		return retain, "set the reclaim policy to Retain", nil
	case s.volume == nil:
		return create, "create the new volume", nil
	}
	return endClaim, "delete the old claim", nil
}

// strange tells of states that no step of this program leads to.
func (i *Item) strange(s seen) error {
	switch {
	case s.volume != nil && s.volume.annotation(fromAnnotation) != i.From.ref():
		return fmt.Errorf("there is a %s that was not made from %s; rename or remove it", s.volume.ref(), i.From.ref())
	case s.volume != nil && handleOf(s.volume) != handleOf(i.Volume):
		return fmt.Errorf("%s has the handle %q and not %q: it was written with other options; delete it if no claim uses it", s.volume.ref(), handleOf(s.volume), handleOf(i.Volume))
	case s.volume.leaving():
		return fmt.Errorf("%s is being deleted", s.volume.ref())
	case s.from != nil && (s.from.uid() != i.From.uid() || s.from.sub("spec", "flexVolume") == nil):
		return fmt.Errorf("%s is another one than was read", s.from.ref())
	case s.from.leaving() && s.old.text("spec", "volumeName") != i.Volume.name():
		return fmt.Errorf("%s is being deleted already, before its claim has moved", s.from.ref())
	}
	return nil
}

// finish is next once the claim is the new one.
func (i *Item) finish(s seen) (action, string, error) {
	switch phase := s.old.text("status", "phase"); {
	case s.volume == nil:
		return done, "", fmt.Errorf("%s names %s, which is not there", s.old.ref(), i.Volume.name())
	case phase == "Lost":
		return done, "", fmt.Errorf("%s is Lost; see `kubectl describe`", s.old.ref())
	case phase != "Bound" || s.volume.text("status", "phase") != "Bound":
		return wait, "claim " + s.old.name() + " is bound", nil
	case s.from == nil:
		return done, "", nil
	case s.from.leaving():
		return wait, "volume " + s.from.name() + " goes when " + finalizers(s.from), nil
	case s.from.text("spec", "persistentVolumeReclaimPolicy") != "Retain":
		return done, "", fmt.Errorf("%s has no longer the reclaim policy Retain; set it, and run this again", s.from.ref())
	case s.from.text("spec", "claimRef", "uid") == s.old.uid():
		return done, "", fmt.Errorf("%s is bound to the new claim", s.from.ref())
	case s.from.text("status", "phase") == "Bound":
		return wait, "volume " + s.from.name() + " is released", nil
	}
	return endOld, "delete the old volume's object", nil
}

// nextInline is next for a volume that pods name themselves: nothing old is in the
// way.
func (i *Item) nextInline(s seen) (action, string, error) {
	switch {
	case s.volume != nil && (handleOf(s.volume) != handleOf(i.Volume) || s.volume.annotation(fromAnnotation) == ""):
		return done, "", fmt.Errorf("there is another %s", s.volume.ref())
	case s.volume.leaving(), s.old.leaving():
		return done, "", fmt.Errorf("%s or its claim is being deleted", i.Volume.ref())
	case s.volume == nil:
		return create, "create the volume", nil
	case s.old == nil:
		return claim, "create the claim", nil
	case s.old.text("spec", "volumeName") != i.Volume.name():
		return done, "", fmt.Errorf("there is another %s, of the volume %q", s.old.ref(), s.old.text("spec", "volumeName"))
	case s.old.text("status", "phase") == "Lost":
		return done, "", fmt.Errorf("%s is Lost; see `kubectl describe`", s.old.ref())
	case s.old.text("status", "phase") != "Bound":
		return wait, "claim " + s.old.name() + " is bound", nil
	}
	return done, "", nil
}

func finalizers(o Object) string {
	if f := o.texts("metadata", "finalizers"); len(f) > 0 {
		return "nothing holds it any more (" + strings.Join(f, ", ") + ")"
	}
	return "it is gone from the cluster"
}

// inUse is why nothing can be done while pods run or may be made.
func inUse(users []Object, makers []string) error {
	var names []string
	for _, u := range users {
		names = append(names, u.ref())
	}
	var errs []string
	if len(users) > 0 {
		errs = append(errs, fmt.Sprintf("it is in use by %s; stop them first (this program ends no pods)", strings.Join(names, ", ")))
	}
	return errors.New(strings.Join(append(errs, makers...), "; "))
}
