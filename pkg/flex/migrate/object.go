// Package migrate leads FlexVolumes to CSI: it reads Kubernetes objects, plans
// which PersistentVolumes and claims take their place, and carries the plan out
// in an order in which nothing is lost. It knows the options of the FlexVolume
// drivers, the objects of Kubernetes as plain data, and kubectl; it knows no
// volume, no mount and no secret. Objects keep every field that need not change.
package migrate

import (
	"maps"
	"slices"
	"strings"
)

// Object is one Kubernetes object, as its JSON has it.
type Object map[string]any

// The kinds that matter here.
const (
	kindVolume = "PersistentVolume"
	kindClaim  = "PersistentVolumeClaim"
	kindPod    = "Pod"
)

func (o Object) kind() string      { return o.text("kind") }
func (o Object) name() string      { return o.text("metadata", "name") }
func (o Object) namespace() string { return o.text("metadata", "namespace") }
func (o Object) uid() string       { return o.text("metadata", "uid") }
func (o Object) version() string   { return o.text("metadata", "resourceVersion") }

func (o Object) annotation(key string) string { return o.text("metadata", "annotations", key) }

// leaving tells whether the object is deleted and waits for its finalizers.
func (o Object) leaving() bool { return o.text("metadata", "deletionTimestamp") != "" }

// at is the value below these keys; nil if there is none.
func (o Object) at(path ...string) any {
	var v any = map[string]any(o)
	for _, key := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[key]
	}
	return v
}

// text is the string there, "" if it is none.
func (o Object) text(path ...string) string {
	s, _ := o.at(path...).(string)
	return s
}

func (o Object) truth(path ...string) bool {
	b, _ := o.at(path...).(bool)
	return b
}

// sub is the object there; a nil one can be read as well.
func (o Object) sub(path ...string) Object {
	m, _ := o.at(path...).(map[string]any)
	return m
}

func (o Object) list(path ...string) []any {
	l, _ := o.at(path...).([]any)
	return l
}

// objects are those of the list there; what is no object counts as an empty one,
// so that the places stay.
func (o Object) objects(path ...string) []Object {
	var all []Object
	for _, v := range o.list(path...) {
		m, _ := v.(map[string]any)
		all = append(all, m)
	}
	return all
}

// texts are the strings of the list there.
func (o Object) texts(path ...string) []string {
	var all []string
	for _, v := range o.list(path...) {
		if s, ok := v.(string); ok {
			all = append(all, s)
		}
	}
	return all
}

// set puts the value there and makes the objects above it.
func (o Object) set(value any, path ...string) {
	m := map[string]any(o)
	for _, key := range path[:len(path)-1] {
		next, ok := m[key].(map[string]any)
		if !ok {
			next = map[string]any{}
			m[key] = next
		}
		m = next
	}
	m[path[len(path)-1]] = value
}

// remove takes the value there away.
func (o Object) remove(path ...string) {
	if parent := o.sub(path[:len(path)-1]...); parent != nil {
		delete(parent, path[len(path)-1])
	}
}

// clone is a copy that shares nothing.
func (o Object) clone() Object {
	if o == nil {
		return nil
	}
	c, _ := cloned(map[string]any(o)).(map[string]any)
	return c
}

func cloned(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for key, value := range v {
			m[key] = cloned(value)
		}
		return m
	case []any:
		l := slices.Clone(v)
		for i := range l {
			l[i] = cloned(l[i])
		}
		return l
	}
	return v
}

func anys(texts []string) []any {
	var l []any
	for _, s := range texts {
		l = append(l, s)
	}
	return l
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// ref names an object in texts: "Pod shop/web", "PersistentVolume data".
func (o Object) ref() string { return ref(o.kind(), o.namespace(), o.name()) }

func ref(kind, namespace, name string) string {
	return strings.TrimSpace(kind + " " + strings.TrimPrefix(namespace+"/"+name, "/"))
}
