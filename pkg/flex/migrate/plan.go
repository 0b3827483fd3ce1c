package migrate

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// topologyKey is the label by which hostvol's CSI driver tells its nodes.
const topologyKey = "topology.hostvol.csi.io/node"

// Options are what a person decides.
type Options struct {
	// Driver is the name of hostvol's CSI driver.
	Driver string
	// Distributed tells that each node has its own daemon, so that handles carry
	// the node.
	Distributed bool
	// Node is the node of local data of which nothing tells the node.
	Node string
	// NodeOf is the node of the PersistentVolume, or of the option volume or path, of
	// that name. It wins over what the objects say.
	NodeOf map[string]string
	// Size and SizeOf are the same for the size of inline volumes.
	Size   string
	SizeOf map[string]string
	// Namespaces and Volumes restrict what is migrated to claims and pods of these
	// namespaces, and to PersistentVolumes of these names; all if empty.
	Namespaces, Volumes []string
}

// wanted tells whether the restrictions let that pass; volume is "" for an inline one.
func (o *Options) wanted(namespace, volume string) bool {
	return (len(o.Namespaces) == 0 || slices.Contains(o.Namespaces, namespace)) && (len(o.Volumes) == 0 || slices.Contains(o.Volumes, volume))
}

// Item is one volume that is led to CSI.
type Item struct {
	// From is the old PersistentVolume, nil for an inline volume and if it is gone;
	// Old its claim.
	From, Old Object
	// Volume and Claim are what is written.
	Volume, Claim Object
	// Users are the pods and workloads that use it.
	Users []Object
	uses  []use
	// Notes help, Warnings tell what is not as it was.
	Notes, Warnings []string
}

func (i *Item) note(format string, args ...any) {
	i.Notes = append(i.Notes, fmt.Sprintf(format, args...))
}
func (i *Item) warn(format string, args ...any) {
	if w := fmt.Sprintf(format, args...); !slices.Contains(i.Warnings, w) {
		i.Warnings = append(i.Warnings, w)
	}
}

func (i *Item) take(v *volume) {
	i.Notes, i.Warnings = append(i.Notes, v.notes...), append(i.Warnings, v.warnings...)
}

// what names the item.
func (i *Item) what() string {
	if i.From != nil {
		return i.From.ref()
	}
	if i.resumed() {
		return i.Volume.ref() + " without its claim"
	}
	return "inline volume " + printable(i.uses[0].name) + " of " + i.uses[0].of.ref()
}

// Left is something that is not migrated, and why.
type Left struct{ What, Why string }

// Plan is what is to be done.
type Plan struct {
	Items []*Item
	// Rewrites are pods and workloads that name claims now.
	Rewrites []*Rewrite
	// Refused need a person; Stay stays as it is.
	Refused, Stay []Left
}

type builder struct {
	options *Options
	in      *inventory
	plan    *Plan
}

// New makes a plan for the objects. Equal objects have equal plans.
func New(options Options, objects []Object) *Plan {
	b := &builder{options: &options, in: take(objects), plan: &Plan{}}
	for _, name := range sortedKeys(b.in.volumes) {
		pv := b.in.volumes[name]
		if pv.sub("spec", "flexVolume") == nil || !options.wanted(pv.text("spec", "claimRef", "namespace"), name) {
			continue
		}
		item, err := b.claimed(pv)
		b.add(item, pv.ref()+" ("+driverOf(pv.sub("spec", "flexVolume"))+")", err)
	}
	if len(options.Volumes) == 0 {
		b.inline()
	}
	b.resume()
	b.conflicts()
	b.rewrite()
	return b.plan
}

func driverOf(flex Object) string {
	if d := flex.text("driver"); d != "" {
		return "driver " + printable(d)
	}
	return "no driver"
}

// printable keeps what files say from playing with a terminal.
func printable(s string) string {
	if q := fmt.Sprintf("%q", s); q[1:len(q)-1] != s {
		return q
	}
	return s
}

func (b *builder) add(item *Item, what string, err error) {
	switch {
	case err == nil:
		b.plan.Items = append(b.plan.Items, item)
	case errors.Is(err, errNotOurs), errors.Is(err, errStays):
		b.plan.Stay = append(b.plan.Stay, Left{what, err.Error()})
	default:
		b.plan.Refused = append(b.plan.Refused, Left{what, err.Error()})
	}
}

// conflicts refuses handles that two PersistentVolumes would have: the kubelet
// confuses those on one node. Those that are there count whatever the restrictions
// are, and whoever has made them.
func (b *builder) conflicts() {
	owners, own := map[string][]string{}, map[string]string{}
	for _, i := range b.plan.Items {
		h := handleOf(i.Volume)
		own[i.Volume.name()] = i.Volume.annotation(fromAnnotation)
		owners[h] = append(owners[h], i.what()+" (claim "+i.Claim.namespace()+"/"+i.Claim.name()+")")
	}
	for _, name := range sortedKeys(b.in.volumes) {
		pv := b.in.volumes[name]
		if from := own[name]; from != "" && pv.annotation(fromAnnotation) == from {
			continue // what an earlier run has made for this very item
		}
		if h := handleOf(pv); len(owners[h]) > 0 {
			owners[h] = append(owners[h], pv.ref()+", which is there already")
		}
	}
	b.plan.Items = slices.DeleteFunc(b.plan.Items, func(i *Item) bool {
		others := owners[handleOf(i.Volume)]
		if len(others) < 2 {
			return false
		}
		b.plan.Refused = append(b.plan.Refused, Left{i.what(), "the same data is wanted more than once: " + strings.Join(others, "; ") +
			". Two PersistentVolumes of one handle confuse the kubelet of a node, and a PersistentVolume has one claim." +
			" Within a namespace let all pods name one claim. Between namespaces choose the one that keeps it;" +
			" data that several shall see belong in a directory below staticRoots (option path), of which there can be a PersistentVolume for each"})
		return true
	})
}

func handleOf(pv Object) string {
	if pv.sub("spec", "csi") == nil {
		return ""
	}
	return pv.text("spec", "csi", "driver") + " " + pv.text("spec", "csi", "volumeHandle")
}
