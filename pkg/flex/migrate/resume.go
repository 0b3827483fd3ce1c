package migrate

import (
	"encoding/json"
	"fmt"
	"strings"
)

// resume plans the claims that an earlier run has not come to make, though nothing
// is left of what it made the volumes from.
func (b *builder) resume() {
	planned := map[string]bool{}
	for _, i := range b.plan.Items {
		planned[i.Volume.name()] = true
	}
	for _, name := range sortedKeys(b.in.volumes) {
		pv := b.in.volumes[name]
		if planned[name] || !b.unfinished(pv) {
			continue
		}
		claim, err := noted(pv)
		item := &Item{Volume: pv.clone(), Claim: claim}
		if err == nil {
			tidy(item.Volume)
			item.Users = b.in.using(claim.namespace(), claim.name())
			item.note("an earlier run was stopped before it made the claim")
		}
		b.add(item, pv.ref(), err)
	}
}

// unfinished tells whether a volume in the cluster was made here and has never had
// its claim, and nothing old is left by which it is planned. A volume that was
// bound once has a uid in its claimRef: somebody has deleted that claim since.
func (b *builder) unfinished(pv Object) bool {
	from, r := pv.annotation(fromAnnotation), pv.sub("spec", "claimRef")
	old := strings.TrimPrefix(from, kindVolume+" ")
	switch {
	case from == "", pv.sub("spec", "csi") == nil, pv.uid() == "", pv.leaving():
		return false
	case r == nil, r.text("uid") != "", b.in.claims[r.text("namespace")+"/"+r.text("name")] != nil:
		return false
	case b.in.volumes[old].sub("spec", "flexVolume") != nil:
		return false
	}
	return b.options.wanted(r.text("namespace"), old) || b.options.wanted(r.text("namespace"), pv.name())
}

// resumed tells whether the item is of resume: its volume is there.
func (i *Item) resumed() bool { return i.From == nil && len(i.uses) == 0 }

// noted is the claim that goes with a volume that was made here.
func noted(pv Object) (Object, error) {
	var claim Object
	if err := json.Unmarshal([]byte(pv.annotation(claimAnnotation)), &claim); err != nil {
		return nil, fmt.Errorf("the annotation %s of %s: %w", claimAnnotation, pv.ref(), err)
	}
	r := pv.sub("spec", "claimRef")
	if !validName(claim.name()) || !validName(claim.namespace()) || claim.ref() != ref(kindClaim, r.text("namespace"), r.text("name")) {
		return nil, fmt.Errorf("the annotation %s of %s is not the claim of its claimRef", claimAnnotation, pv.ref())
	}
	return claim, nil
}
