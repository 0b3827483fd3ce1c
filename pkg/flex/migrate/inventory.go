package migrate

import (
	"slices"
	"strings"
)

// inventory is what there is.
type inventory struct {
	volumes   map[string]Object // by name
	claims    map[string]Object // by namespace/name
	pods      []Object
	workloads map[string]Object // by ref
	// nodes has the name of a node by its label kubernetes.io/hostname.
	nodes map[string]string
	// drivers has the CSI drivers by name, registered those of each node; nil where
	// nothing is known.
	drivers    map[string]bool
	registered map[string][]string
}

// hostname is the label by which pods and volumes are bound to a node.
const hostname = "kubernetes.io/hostname"

func workloadKinds() []string {
	return []string{"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob"}
}

// take sorts the objects in. Of two that are the same the first one stays.
func take(objects []Object) *inventory {
	in := &inventory{
		volumes: map[string]Object{}, claims: map[string]Object{}, workloads: map[string]Object{},
		nodes: map[string]string{}, drivers: map[string]bool{}, registered: map[string][]string{},
	}
	seen := map[string]bool{}
	for _, o := range objects {
		if seen[o.ref()] {
			continue
		}
		seen[o.ref()] = true
		switch o.kind() {
		case kindVolume:
			in.volumes[o.name()] = o
		case kindClaim:
			in.claims[o.namespace()+"/"+o.name()] = o
		case kindPod:
			in.pods = append(in.pods, o)
		case "Node":
			if host := o.text("metadata", "labels", hostname); host != "" {
				in.nodes[host] = o.name()
			}
		case "CSIDriver":
			in.drivers[o.name()] = true
		case "CSINode":
			for _, d := range o.objects("spec", "drivers") {
				in.registered[o.name()] = append(in.registered[o.name()], d.text("name"))
			}
		default:
			in.workloads[o.ref()] = o
		}
	}
	slices.SortFunc(in.pods, func(a, b Object) int { return strings.Compare(a.ref(), b.ref()) })
	return in
}

// podSpec is where the spec of the pods lies in an object of that kind.
func podSpec(kind string) []string {
	switch kind {
	case kindPod:
		return []string{"spec"}
	case "CronJob":
		return []string{"spec", "jobTemplate", "spec", "template", "spec"}
	}
	return []string{"spec", "template", "spec"}
}

func podVolumes(o Object) []Object { return o.objects(append(podSpec(o.kind()), "volumes")...) }

// active tells whether a pod may have its volumes mounted.
func active(pod Object) bool {
	phase := pod.text("status", "phase")
	return phase != "Succeeded" && phase != "Failed"
}

// using are the pods and workloads that name the claim.
func (in *inventory) using(namespace, claim string) []Object {
	var all []Object
	for _, p := range in.pods {
		if active(p) && claims(p, namespace, claim) {
			all = append(all, p)
		}
	}
	for _, key := range sortedKeys(in.workloads) {
		if w := in.workloads[key]; in.owner(w) == "" && claims(w, namespace, claim) {
			all = append(all, w)
		}
	}
	return all
}

// claims tells whether a pod or the pods of a workload have the claim.
func claims(o Object, namespace, claim string) bool {
	return templated(o, namespace, claim) || o.namespace() == namespace && slices.ContainsFunc(podVolumes(o), func(v Object) bool {
		return v.text("persistentVolumeClaim", "claimName") == claim
	})
}

// templated tells whether the claim is one of those that a StatefulSet makes.
func templated(w Object, namespace, claim string) bool {
	return w.kind() == "StatefulSet" && w.namespace() == namespace && slices.ContainsFunc(w.objects("spec", "volumeClaimTemplates"), func(t Object) bool {
		number, ok := strings.CutPrefix(claim, t.name()+"-"+w.name()+"-")
		return ok && number != "" && strings.Trim(number, "0123456789") == ""
	})
}

// owner is the ref of the workload that an object is made by in the end, "" if
// by none. One that was not read can be told as well.
func (in *inventory) owner(o Object) string {
	owner := ""
	for range 4 { // Pod, ReplicaSet, Deployment, and one more
		next := ""
		for _, r := range o.objects("metadata", "ownerReferences") {
			if r.truth("controller") {
				next = ref(r.text("kind"), o.namespace(), r.text("name"))
			}
		}
		if next == "" {
			return owner
		}
		owner, o = next, in.workloads[next]
	}
	return owner
}

// nodeName is the node with that hostname.
func (in *inventory) nodeName(host string) string {
	if n := in.nodes[host]; n != "" {
		return n
	}
	return host
}

// podNode is the node that a pod or a template is bound to, "" if to none.
func (in *inventory) podNode(o Object, topology string) string {
	spec := o.sub(podSpec(o.kind())...)
	if n := spec.text("nodeName"); n != "" {
		return n
	}
	if host := spec.text("nodeSelector", hostname); host != "" {
		return in.nodeName(host)
	}
	if n := spec.text("nodeSelector", topology); n != "" {
		return n
	}
	node, _ := in.termsNode(spec.objects("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"), topology)
	return node
}

// termsNode is the one node that terms of a node affinity allow, "" if there is
// no such; plain tells that they say nothing besides.
func (in *inventory) termsNode(terms []Object, topology string) (node string, plain bool) {
	plain = true
	for i, term := range terms {
		here := ""
		for _, e := range append(term.objects("matchExpressions"), term.objects("matchFields")...) {
			values := e.texts("values")
			if e.text("operator") != "In" || len(values) != 1 {
				plain = false
				continue
			}
			switch e.text("key") {
			case hostname:
				here = in.nodeName(values[0])
			case topology, "metadata.name":
				here = values[0]
			default:
				plain = false
			}
		}
		if here == "" || i > 0 && here != node {
			return "", false
		}
		node = here
	}
	return node, plain
}
