package migrate

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// use is one flexVolume of a pod or of a template.
type use struct {
	of   Object
	name string // of the volume in the pod
	src  *source
	node string
}

// inline plans the flexVolumes that pods and templates name themselves. Those of
// one namespace that name the same data share a claim.
func (b *builder) inline() {
	var all []use
	objects := slices.Clone(b.in.pods)
	for _, key := range sortedKeys(b.in.workloads) {
		objects = append(objects, b.in.workloads[key])
	}
	for _, o := range objects {
		if !b.options.wanted(o.namespace(), "") || o.kind() == kindPod && !active(o) {
			continue
		}
		for _, v := range podVolumes(o) {
			if v.sub("flexVolume") == nil {
				continue
			}
			what := fmt.Sprintf("volume %s of %s (%s)", printable(v.text("name")), o.ref(), driverOf(v.sub("flexVolume")))
			s, err := parse(v.sub("flexVolume"))
			if err != nil {
				if b.in.owner(o) == "" {
					b.add(nil, what, err)
				}
				continue
			}
			all = append(all, use{of: o, name: v.text("name"), src: s, node: b.in.podNode(o, topologyKey)})
		}
	}
	b.knowNodes(all)
	b.share(all)
}

// knowNodes gives templates that do not say where they run the node of the pods
// that are made by them.
func (b *builder) knowNodes(all []use) {
	for i := range all {
		if all[i].node != "" || all[i].of.kind() == kindPod {
			continue
		}
		var pods []Object
		for _, p := range b.in.pods {
			if active(p) && b.in.owner(p) == all[i].of.ref() {
				pods = append(pods, p)
			}
		}
		if node, err := b.podsNode(pods); err == nil {
			all[i].node = node
		}
	}
}

// share makes one item of the uses of the same data in one namespace.
func (b *builder) share(all []use) {
	items := map[string]*Item{}
	volumes := map[string]*volume{}
	var order []string
	for _, u := range all {
		owned := b.in.owner(u.of) != ""
		what := fmt.Sprintf("volume %s of %s (driver %s)", printable(u.name), u.of.ref(), printable(u.src.full))
		v, err := b.inlineVolume(u)
		if err != nil {
			if !owned { // what owns it says the same
				b.add(nil, what, err)
			}
			continue
		}
		key := u.of.namespace() + "\n" + v.key
		item := items[key]
		if item == nil {
			item = &Item{}
			items[key], volumes[key] = item, v
			order = append(order, key)
		}
		item.uses = append(item.uses, u)
		item.Users = append(item.Users, u.of)
		for _, n := range v.notes {
			if !slices.Contains(item.Notes, n) {
				item.Notes = append(item.Notes, n)
			}
		}
		for _, w := range v.warnings {
			item.warn("%s", w)
		}
		volumes[key].size = cmp.Or(volumes[key].size, v.size)
	}
	for _, key := range order {
		item, v := items[key], volumes[key]
		slices.SortStableFunc(item.uses, func(x, y use) int { // what is told by is what a person can change
			return cmp.Compare(btoi(b.in.owner(x.of) != ""), btoi(b.in.owner(y.of) != ""))
		})
		b.add(item, item.what(), b.finish(item, v))
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (b *builder) inlineVolume(u use) (*volume, error) {
	if u.src.driver == "local" && u.of.kind() == "DaemonSet" {
		return nil, errors.New("each node's pod of a DaemonSet has its own data, and a claim has one volume: write a PersistentVolume and a claim for each node by hand, or use one DaemonSet for each node")
	}
	subject := u.src.subject()
	return b.options.translate(u.src, subject, u.node, u.of.namespace())
}

// finish writes the objects of an inline item.
func (b *builder) finish(item *Item, v *volume) error {
	namespace := item.uses[0].of.namespace()
	subject := cmp.Or(item.uses[0].src.subject(), v.base)
	size := cmp.Or(b.options.SizeOf[subject], v.size, b.options.Size)
	if size == "" {
		return fmt.Errorf("nothing tells its size, and a claim must ask for one; give --size-of %s=SIZE, or --size SIZE for all", quote(subject))
	}
	if _, err := parseQuantity(size); err != nil {
		return fmt.Errorf("its size: %w", err)
	}
	if v.node != "" && b.options.Node == "" && b.options.NodeOf[subject] == "" && !slices.ContainsFunc(item.uses, func(u use) bool { return b.in.owner(u.of) == "" && b.in.podNode(u.of, topologyKey) != "" }) {
		item.note("only running pods tell that its node is %s; when they have ended, give --node-of %s=%s", v.node, quote(subject), v.node)
	}
	return b.inlineObjects(item, v, namespace, size)
}
