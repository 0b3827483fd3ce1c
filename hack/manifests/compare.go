package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	snapshots "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

// objects by kind, namespace and name.
type objects map[string]runtime.Object

// hash is what kustomize puts behind the name of a ConfigMap that it generates.
var hash = regexp.MustCompile(`^(hostvol-config)-[a-z0-9]{10}$`)

// decode reads objects as their API types; a field that does not exist there is a fault.
func (r *report) decode(where, text string) objects {
	s := runtime.NewScheme()
	if err := errors.Join(scheme.AddToScheme(s), snapshots.AddToScheme(s)); err != nil {
		r.fault(where, "%v", err)
	}
	decoder := serializer.NewCodecFactory(s, serializer.EnableStrict).UniversalDeserializer()
	found := objects{}
	reader := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			r.fault(where, "%v", err)
			return found
		}
		if blank(document) {
			continue
		}
		object, kind, err := decoder.Decode(document, nil, nil)
		if err != nil {
			r.fault(where, "%v", err)
			continue
		}
		m, err := meta.Accessor(object)
		if err != nil {
			r.fault(where, "%v", err)
			continue
		}
		m.SetName(hash.ReplaceAllString(m.GetName(), "$1"))
		key := strings.TrimSpace(kind.Kind + " " + strings.Trim(m.GetNamespace()+"/"+m.GetName(), "/"))
		if found[key] != nil {
			r.fault(where, "%s is there twice", key)
		}
		found[key] = object
	}
}

func blank(document []byte) bool {
	for line := range strings.Lines(string(document)) {
		if line = strings.TrimSpace(line); line != "" && line != "---" && !strings.HasPrefix(line, "#") {
			return false
		}
	}
	return true
}

// compare tells every difference but these:
//   - kustomize makes the namespace; Helm has it made, or made beforehand
//   - Helm's labels on objects, not on pods
//   - a changed configuration rolls the pods by the ConfigMap's name (kustomize) or an annotation (Helm)
//   - comments and order in the configuration file
//   - the order of volumes, and of a container's mounts, which has no meaning
func (r *report) compare(name string, kustomized, templated objects) {
	delete(kustomized, "Namespace "+namespace)
	for _, key := range slices.Sorted(maps.Keys(kustomized)) {
		h, ok := templated[key]
		if !ok {
			r.fault(name, "the chart has no %s", key)
			continue
		}
		for _, d := range differences(key, plain(kustomized[key]), plain(h)) {
			r.fault(name, "%s", d)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(templated)) {
		if kustomized[key] == nil {
			r.fault(name, "kustomize has no %s", key)
		}
	}
}

// plain gives the object as JSON has it, without the differences that are allowed.
func plain(object runtime.Object) map[string]any {
	data, err := json.Marshal(object)
	if err != nil {
		panic(err) // an API type
	}
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		panic(err)
	}
	for _, label := range []string{"app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "helm.sh/chart"} {
		delete(at(m, "metadata", "labels"), label)
	}
	delete(at(m, "spec", "template", "metadata", "annotations"), "checksum/config")
	pod := at(m, "spec", "template", "spec")
	for _, v := range sorted(pod, "volumes", "name") {
		if config := at(v, "configMap"); config != nil {
			config["name"] = hash.ReplaceAllString(config["name"].(string), "$1")
		}
	}
	containers, _ := pod["containers"].([]any)
	for _, c := range containers {
		sorted(at(c), "volumeMounts", "mountPath")
	}
	if data := at(m, "data"); m["kind"] == "ConfigMap" {
		for key, text := range data {
			var parsed any
			if err := yaml.Unmarshal([]byte(text.(string)), &parsed); err == nil {
				data[key] = parsed
			}
		}
	}
	return m
}

// at follows keys through maps; nil where one is missing.
func at(value any, keys ...string) map[string]any {
	m, _ := value.(map[string]any)
	for _, key := range keys {
		m, _ = m[key].(map[string]any)
	}
	return m
}

// sorted sorts a list of objects by one of their fields, in place.
func sorted(m map[string]any, list, by string) []any {
	items, _ := m[list].([]any)
	slices.SortFunc(items, func(a, b any) int { return cmp.Compare(at(a)[by].(string), at(b)[by].(string)) })
	return items
}

// differences tells where the two are not equal. Absent is nil.
func differences(path string, kustomized, templated any) []string {
	var found []string
	switch k := kustomized.(type) {
	case map[string]any:
		h, ok := templated.(map[string]any)
		if !ok {
			break
		}
		keys := maps.Clone(k)
		maps.Copy(keys, h)
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			found = append(found, differences(path+"."+key, k[key], h[key])...)
		}
		return found
	case []any:
		h, ok := templated.([]any)
		if !ok || len(k) != len(h) {
			break
		}
		for i := range k {
			found = append(found, differences(fmt.Sprintf("%s[%d]", path, i), k[i], h[i])...)
		}
		return found
	default:
		if kustomized == templated {
			return nil
		}
	}
	return []string{fmt.Sprintf("%s:\n    kustomize: %s\n    helm:      %s", path, short(kustomized), short(templated))}
}

func short(value any) string {
	if value == nil {
		return "absent"
	}
	data, err := json.Marshal(value)
	if err != nil {
		return err.Error()
	}
	if len(data) > 300 {
		return string(data[:300]) + "…"
	}
	return string(data)
}
