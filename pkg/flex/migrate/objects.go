package migrate

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// newClaim writes the claim that takes the old one's place, of the same name, so
// that no pod needs a change.
func (b *builder) newClaim(item *Item, volume string) error {
	c := item.Old.clone()
	item.Warnings = append(item.Warnings, tidy(c)...)
	if mode := c.text("spec", "volumeMode"); mode == "Block" || item.From.text("spec", "volumeMode") == "Block" {
		return errors.New("it is of volumeMode Block, which a FlexVolume cannot be")
	}
	capacity, request := item.From.text("spec", "capacity", "storage"), c.text("spec", "resources", "requests", "storage")
	have, err := parseQuantity(capacity)
	if err != nil {
		return fmt.Errorf("its capacity: %w", err)
	}
	want, err := parseQuantity(request)
	if err != nil {
		return fmt.Errorf("the request of its claim: %w", err)
	}
	if want.Cmp(have) > 0 {
		item.warn("the claim asked for %s and the volume has %s; the new claim asks for %s, or it would be expanded at once", request, capacity, capacity)
		c.set(capacity, "spec", "resources", "requests", "storage")
	}
	for _, key := range []string{"dataSource", "dataSourceRef", "volumeAttributesClassName"} {
		if c.at("spec", key) != nil {
			item.warn("%s of the claim is left out: the data are there already", key)
			c.remove("spec", key)
		}
	}
	c.set(volume, "spec", "volumeName")
	c.set(class(item.Old), "spec", "storageClassName") // "" keeps the default class away
	item.Claim = c
	return nil
}

// newVolume writes the CSI volume, bound to the claim before there is one, so that
// no other claim gets it.
func (b *builder) newVolume(item *Item, v *volume, name string) error {
	pv := item.From.clone()
	item.Warnings = append(item.Warnings, tidy(pv)...)
	pv.set(name, "metadata", "name")
	spec := pv.sub("spec")
	spec.remove("flexVolume")
	spec.set(v.section(name), "csi")
	spec.set(claimRef(item.Claim), "claimRef")
	if old := spec.text("persistentVolumeReclaimPolicy"); old != "Retain" && old != "" {
		item.warn("the reclaim policy was %s and is Retain now, so that nothing deletes the data; change it back when all is well", old)
	}
	spec.set("Retain", "persistentVolumeReclaimPolicy")
	if was, is := class(item.From), class(item.Old); was != is {
		item.warn("the volume had the class %q and its claim %q; both have the claim's now", was, is)
	}
	spec.set(class(item.Old), "storageClassName")
	modes := spec.texts("accessModes")
	for _, m := range item.Old.texts("spec", "accessModes") {
		if !slices.Contains(modes, m) {
			modes = append(modes, m)
			item.warn("the claim has the access mode %s, which the volume had not; it has now", m)
		}
	}
	if len(modes) == 0 {
		return errors.New("neither the volume nor its claim has access modes")
	}
	spec.set(anys(modes), "accessModes")
	if options := spec.texts("mountOptions"); len(options)+len(v.mountOptions) > 0 {
		for _, o := range v.mountOptions {
			if !slices.Contains(options, o) {
				options = append(options, o)
			}
		}
		spec.set(anys(options), "mountOptions")
	}
	if v.node != "" {
		spec.set(b.options.affinity(v.node), "nodeAffinity")
	}
	return item.mark(pv)
}

func claimRef(claim Object) map[string]any {
	return map[string]any{"apiVersion": "v1", "kind": kindClaim, "namespace": claim.namespace(), "name": claim.name()}
}

// mark notes in the volume what it comes from and the claim that goes with it.
func (i *Item) mark(pv Object) error {
	claim, err := json.Marshal(i.Claim)
	if err != nil {
		return err
	}
	pv.set(string(claim), "metadata", "annotations", claimAnnotation)
	from := "inline FlexVolume"
	if i.From != nil {
		from = i.From.ref()
	}
	pv.set(from, "metadata", "annotations", fromAnnotation)
	i.Volume = pv
	return nil
}

// affinity binds a volume to its node.
func (o *Options) affinity(node string) map[string]any {
	return map[string]any{"required": map[string]any{"nodeSelectorTerms": []any{map[string]any{
		"matchExpressions": []any{map[string]any{"key": topologyKey, "operator": "In", "values": []any{node}}},
	}}}}
}

// inlineObjects writes the volume and the claim for data that pods name in their
// own specs.
func (b *builder) inlineObjects(item *Item, v *volume, namespace, size string) error {
	name := inlineName(v.base, namespace, v.key)
	modes := []any{"ReadWriteOnce"}
	if v.shared {
		modes = []any{"ReadWriteMany"}
	}
	item.Claim = Object{
		"apiVersion": "v1", "kind": kindClaim,
		"metadata": map[string]any{"name": name, "namespace": namespace},
		"spec": map[string]any{
			"accessModes": modes, "storageClassName": "", "volumeName": name,
			"resources": map[string]any{"requests": map[string]any{"storage": size}},
		},
	}
	spec := map[string]any{
		"accessModes": modes, "storageClassName": "", "capacity": map[string]any{"storage": size},
		"persistentVolumeReclaimPolicy": "Retain", "csi": v.section(name), "claimRef": claimRef(item.Claim),
	}
	if len(v.mountOptions) > 0 {
		spec["mountOptions"] = anys(v.mountOptions)
	}
	if v.node != "" {
		spec["nodeAffinity"] = b.options.affinity(v.node)
	}
	return item.mark(Object{"apiVersion": "v1", "kind": kindVolume, "metadata": map[string]any{"name": name}, "spec": spec})
}
