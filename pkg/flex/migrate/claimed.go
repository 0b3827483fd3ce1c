package migrate

import (
	"errors"
	"fmt"
	"slices"
)

// claimed plans a PersistentVolume with a flexVolume section, and its claim.
func (b *builder) claimed(pv Object) (*Item, error) {
	s, err := parse(pv.sub("spec", "flexVolume"))
	if err != nil {
		return nil, err
	}
	name := shorten(pv.name(), 253-len(volumeSuffix)) + volumeSuffix
	claim, err := b.claimOf(pv, name)
	if err != nil {
		return nil, err
	}
	item := &Item{From: pv, Old: claim, Users: b.in.using(claim.namespace(), claim.name())}
	node, err := b.volumeNode(pv, item, s)
	if err != nil {
		return nil, err
	}
	v, err := b.options.translate(s, pv.name(), node, claim.namespace())
	if err != nil {
		return nil, err
	}
	item.take(v)
	if v.size != "" {
		item.note("the option size is not needed: the capacity is %s", pv.text("spec", "capacity", "storage"))
	}
	if err := b.newClaim(item, name); err != nil {
		return nil, err
	}
	if err := b.newVolume(item, v, name); err != nil {
		return nil, err
	}
	if s.readOnly {
		item.Volume.set(true, "spec", "csi", "readOnly")
		item.warn("readOnly of the PersistentVolume is kept, but the kubelet mounts neither the old nor the new volume read-only for it: set readOnly in the pods' volumes")
	}
	for _, u := range item.Users {
		if u.kind() == "StatefulSet" && u.text("spec", "persistentVolumeClaimRetentionPolicy", "whenScaled") == "Delete" {
			item.warn("%s deletes its claims when it is scaled down: set persistentVolumeClaimRetentionPolicy.whenScaled to Retain first", u.ref())
		}
	}
	return item, nil
}

// claimOf finds the claim of a volume: the old one, or what an earlier run has
// noted of it.
func (b *builder) claimOf(pv Object, name string) (Object, error) {
	r := pv.sub("spec", "claimRef")
	key := r.text("namespace") + "/" + r.text("name")
	if r == nil {
		for _, k := range sortedKeys(b.in.claims) {
			if b.in.claims[k].text("spec", "volumeName") == pv.name() {
				key = k
			}
		}
	}
	claim, made := b.in.claims[key], b.in.volumes[name]
	if made.annotation(fromAnnotation) == pv.ref() && (claim == nil || claim.text("spec", "volumeName") == name) {
		return noted(made)
	}
	bound := claim.text("spec", "volumeName")
	switch {
	case r == nil && claim == nil:
		return nil, errors.New("no claim has it, so no pod can have used it; write a CSI volume for its data when there is one (docs/static-volumes.md)")
	case claim == nil && pv.text("status", "phase") == "Released":
		return nil, fmt.Errorf("its claim %s is gone (it is Released), so no pod uses it; make the claim anew and take spec.claimRef.uid off, then migrate", key)
	case claim == nil:
		return nil, fmt.Errorf("its claim %s is not among the objects; give its file with -f, or --from-cluster", key)
	case bound != "" && bound != pv.name():
		return nil, fmt.Errorf("its claim %s is bound to another volume, %s", key, bound)
	case r.text("uid") != "" && claim.uid() != "" && r.text("uid") != claim.uid():
		return nil, fmt.Errorf("it belonged to an earlier claim %s (another uid), not to the one that is there now", key)
	case bound == "" && r.text("uid") == "" && claim.text("status", "phase") == "Pending":
		return nil, fmt.Errorf("its claim %s is not bound yet; wait until it is", key)
	}
	return claim, nil
}

// volumeNode is where the data of a claimed volume lie, as far as objects tell.
func (b *builder) volumeNode(pv Object, item *Item, s *source) (string, error) {
	if s.driver != "local" {
		return "", nil
	}
	terms := pv.objects("spec", "nodeAffinity", "required", "nodeSelectorTerms")
	node, plain := b.in.termsNode(terms, topologyKey)
	if node != "" && plain {
		return node, nil
	}
	if len(terms) > 0 {
		item.warn("the node affinity of %s says more than one node's name; it is replaced by that node", pv.ref())
	}
	if node != "" {
		return node, nil
	}
	return b.podsNode(item.Users)
}

// podsNode is the node of these pods and templates, "" if it is not known. On two
// nodes the FlexVolume was two volumes.
func (b *builder) podsNode(users []Object) (string, error) {
	var nodes []string
	for _, u := range users {
		if n := b.in.podNode(u, topologyKey); n != "" && !slices.Contains(nodes, n) {
			nodes = append(nodes, n)
		}
	}
	switch len(nodes) {
	case 0:
		return "", nil
	case 1:
		return nodes[0], nil
	}
	return "", fmt.Errorf("its pods are on the nodes %s and %s, each with data of its own; a claim has one volume, so give each node's pods their own claim", nodes[0], nodes[1])
}
