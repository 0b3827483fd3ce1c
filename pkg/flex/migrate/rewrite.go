package migrate

import (
	"fmt"
	"slices"
)

// Rewrite is a pod or workload whose volumes name claims instead of FlexVolumes.
type Rewrite struct {
	// Old is the object as it was read; New can be created or applied.
	Old, New Object
	// Volumes are the entries that take the place of those of the same name.
	Volumes map[string]Object
	// How it gets into effect.
	How      how
	Warnings []string
}

// how a rewritten object gets into effect.
type how int

const (
	// byPatch: the template of a workload that has no pods can be changed.
	byPatch how = iota
	// byHand: a person deletes the old object and creates the new one.
	byHand
	// unchanged: a bare pod of a claim, whose manifest is kept for the person.
	unchanged
)

// rewrite collects what the items change in pods and workloads.
func (b *builder) rewrite() {
	byRef := map[string]*Rewrite{}
	for _, item := range b.plan.Items {
		for _, u := range item.uses {
			if owner := b.in.owner(u.of); owner != "" {
				b.ownedBy(item, u.of, owner)
				continue
			}
			r := byRef[u.of.ref()]
			if r == nil {
				r = &Rewrite{Old: u.of, Volumes: map[string]Object{}, How: byHand}
				if slices.Contains([]string{"Deployment", "StatefulSet", "ReplicaSet", "CronJob"}, u.of.kind()) {
					r.How = byPatch
				}
				byRef[u.of.ref()] = r
			}
			claim := map[string]any{"claimName": item.Claim.name()}
			if u.src.readOnly {
				claim["readOnly"] = true
			}
			r.Volumes[u.name] = Object{"name": u.name, "persistentVolumeClaim": claim}
		}
		if item.From == nil {
			continue
		}
		for _, u := range item.Users { // a person must delete these pods, and will want them back
			if u.kind() == kindPod && b.in.owner(u) == "" && byRef[u.ref()] == nil {
				byRef[u.ref()] = &Rewrite{Old: u, How: unchanged}
			}
		}
	}
	for _, key := range sortedKeys(byRef) {
		r := byRef[key]
		r.New = r.Old.clone()
		r.Warnings = append(tidy(r.New), r.renew()...)
		b.plan.Rewrites = append(b.plan.Rewrites, r)
	}
}

// ownedBy tells of a pod that is made from a template: the template is what is
// to be changed.
func (b *builder) ownedBy(item *Item, pod Object, owner string) {
	switch {
	case b.in.workloads[owner] != nil: // it is rewritten itself
	case pod.annotation("kubernetes.io/config.mirror") != "":
		item.warn("%s is a static pod; change its file on the node to name the claim %s", pod.ref(), item.Claim.name())
	default:
		item.warn("%s is made by %s, which was not read; change the volume in its template to persistentVolumeClaim: {claimName: %s}", pod.ref(), owner, item.Claim.name())
	}
}

// renew puts the new volumes into the new object, and makes a running pod one that
// can be created.
func (r *Rewrite) renew() []string {
	var warnings []string
	at := append(podSpec(r.New.kind()), "volumes")
	if len(r.Volumes) > 0 {
		r.New.set(replaced(r.New.list(at...), r.Volumes), at...)
	}
	if r.New.kind() == kindPod && r.Old.uid() != "" {
		if node := r.New.text("spec", "nodeName"); node != "" {
			r.New.remove("spec", "nodeName")
			warnings = append(warnings, fmt.Sprintf("nodeName %s is left out: the scheduler writes it, and goes by the node affinity of the volumes", node))
		}
		if r.New.at("spec", "ephemeralContainers") != nil {
			r.New.remove("spec", "ephemeralContainers")
			warnings = append(warnings, fmt.Sprintf("ephemeral containers of %s are left out: a pod cannot be created with them", r.Old.ref()))
		}
	}
	if r.New.kind() == "Job" && !r.New.truth("spec", "manualSelector") { // made by the controller, for the old one
		r.New.remove("spec", "selector")
		for _, label := range []string{"controller-uid", "batch.kubernetes.io/controller-uid"} {
			r.New.remove("spec", "template", "metadata", "labels", label)
			r.New.remove("metadata", "labels", label)
		}
	}
	for _, v := range r.New.objects(at...) {
		if flex := v.sub("flexVolume"); flex != nil {
			warnings = append(warnings, fmt.Sprintf("volume %s of %s still is a FlexVolume (%s)", printable(v.text("name")), r.Old.ref(), driverOf(flex)))
		}
	}
	return warnings
}

// replaced is a list of volumes with those of the same names in their places.
func replaced(list []any, with map[string]Object) []any {
	list, _ = cloned(list).([]any)
	for i, v := range list {
		m, _ := v.(map[string]any)
		if w := with[Object(m).text("name")]; w != nil && m["flexVolume"] != nil {
			list[i] = map[string]any(w.clone())
		}
	}
	return list
}
