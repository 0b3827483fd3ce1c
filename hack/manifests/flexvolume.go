package main

import (
	"fmt"
	"slices"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

const flexSettings = `apiVersion: v1
kind: ConfigMap
metadata: {name: hostvol-settings, annotations: {config.kubernetes.io/local-config: "true"}}
data: {pluginDir: /data/plugins, kubeletDir: /data/kubelet}
`

// flexVolume checks deploy/flexvolume: what installs the drivers, and what removes them, each as it is and with other
// directories; and that the driver's component is the base's configuration with flex.
func (r *report) flexVolume(tree filesys.FileSystem, pinned versions) error {
	driver, err := r.daemonSet(tree, "/kubernetes/distributed/core", "hostvol")
	if err != nil || driver == nil {
		return err
	}
	for _, form := range []string{"/flexvolume", "/flexvolume/remove"} {
		overlay := "resources: [../.." + form + ", settings.yaml]\n" +
			"components: [../../flexvolume/components/plugin-dir, ../../flexvolume/components/kubelet-dir]\n"
		err := tree.WriteFile("/overlays/test/kustomization.yaml", []byte(overlay))
		if err == nil {
			err = tree.WriteFile("/overlays/test/settings.yaml", []byte(flexSettings))
		}
		if err != nil {
			return err
		}
		for directory, want := range map[string][]string{
			form:             {"/usr/libexec/kubernetes/kubelet-plugins/volume/exec", "/var/lib/kubelet"},
			"/overlays/test": {"/data/plugins", "/data/kubelet"},
		} {
			where := fmt.Sprintf("kustomize, %s, %s", form, directory)
			set, err := r.daemonSet(tree, directory, "hostvol-flex")
			if err != nil || set == nil {
				return err
			}
			pod := set.Spec.Template.Spec
			r.pod(where, pod, pinned)
			if p := driver.Spec.Template.Spec; p.PriorityClassName != pod.PriorityClassName ||
				!equality.Semantic.DeepEqual(p.NodeSelector, pod.NodeSelector) || !equality.Semantic.DeepEqual(p.Tolerations, pod.Tolerations) {
				r.fault(where, "it does not run where the driver does")
			}
			// Installing sees the plugin directory only, and has the kubelet's by name.
			have := []string{}
			for _, v := range pod.Volumes {
				if v.HostPath == nil {
					r.fault(where, "volume %s is not of the node", v.Name)
					continue
				}
				have = append(have, v.HostPath.Path)
			}
			if form == "/flexvolume" {
				have = append(have, variable(pod, "KUBELET_DIR"))
			}
			if !slices.Equal(have, want) {
				r.fault(where, "directories %q, not %q", have, want)
			}
		}
	}
	return nil
}

// daemonSet builds a kustomization and gives one of its objects, nil with a fault if it has none; beside hostvol-flex
// there is no other.
func (r *report) daemonSet(tree filesys.FileSystem, directory, name string) (*apps.DaemonSet, error) {
	text, err := build(tree, directory)
	if err != nil {
		return nil, fmt.Errorf("kustomize, %s: %w", directory, err)
	}
	objects := r.decode("kustomize, "+directory, text)
	set, ok := objects["DaemonSet "+namespace+"/"+name].(*apps.DaemonSet)
	if !ok {
		r.fault("kustomize, "+directory, "it has no DaemonSet %s", name)
		return nil, nil
	}
	if name == "hostvol-flex" && len(objects) != 1 {
		r.fault("kustomize, "+directory, "it has %d objects, 1 is wanted", len(objects))
	}
	return set, nil
}

func variable(pod core.PodSpec, name string) string {
	for _, v := range pod.Containers[0].Env {
		if v.Name == name {
			return v.Value
		}
	}
	return ""
}
